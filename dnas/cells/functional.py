"""The seam between modules and algorithms: networks as pure functions of their arrays.

Everything outside this file that is not a module sees plain arrays. `nnx.split` and `nnx.merge` stand here alone, and what they return is
copied, so that no algorithm can change a module behind its back.
"""

import dataclasses
import functools
from typing import Any

import jax
from flax import nnx

Tree = Any


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights", "stats"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Variables:
  """The arrays of a network.

  Attributes:
    weights: what the weight optimizer trains.
    stats: running batch statistics.
  """

  weights: Tree
  stats: Tree


@dataclasses.dataclass(frozen=True)
class Network:
  """The static part of a module: hashable, so that it can be an argument of a compiled function."""

  graphdef: nnx.GraphDef


def split(module: nnx.Module) -> tuple[Network, Variables]:
  """Takes a module apart. Raises ValueError if it holds a variable that is neither a weight nor a batch statistic."""
  graphdef, weights, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
  return Network(graphdef), Variables(nnx.to_pure_dict(weights), nnx.to_pure_dict(stats))


def apply(network: Network, variables: Variables, *args: Any, **kwargs: Any) -> tuple[Any, Tree]:
  """Calls the module on given arrays.

  Args:
    network: what `split` returned.
    variables: arrays of the same structure.
    *args: arguments of the module.
    **kwargs: keyword arguments of the module.

  Returns:
    The module's output, and the batch statistics after the call. `variables` stay as they are.
  """
  module = nnx.merge(network.graphdef, nnx.State(variables.weights), nnx.State(variables.stats))
  output = module(*args, **kwargs)
  _, stats, _ = nnx.split(module, nnx.BatchStat, ...)
  return output, nnx.to_pure_dict(stats)
