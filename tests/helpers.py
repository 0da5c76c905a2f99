"""What tests of several packages use."""

import functools

import jax
import numpy as np

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def flat(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def without_seconds(history):
  return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


class Killed(Exception):
  """A run that ends in the middle."""
