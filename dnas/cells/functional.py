"""The seam between modules and algorithms: networks as pure functions of their arrays.

Everything outside this file that is not a module sees plain arrays. `nnx.split` and `nnx.merge` stand here alone, and what they return is
copied, so that no algorithm can change a module behind its back.
"""

import dataclasses
import functools
from typing import Any

import jax
from flax import nnx

from dnas.cells import rectifier
from dnas.core import segments

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


def call_segment(module: nnx.Module, *args: Any, train: bool, rematerialize: bool = False) -> Any:
  """Calls a module as a segment of the program that is traced (`core.segments`), so that modules which are alike are compiled once.

  Args:
    module: a module whose attributes are hashable, modules and arrays aside.
    *args: arrays, or trees of them.
    train: passed on by name; whether the module's batch statistics move.
    rematerialize: whether a gradient computes anew what the module holds between its input and its output, and keeps none of it.

  Returns:
    The module's output, a tree of arrays.
  """
  if rectifier.recording():
    return module(*args, train=train)
  graphdef, weights, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
  output, stats = _SEGMENTS[rematerialize](graphdef, train, weights, stats, args)
  if train:
    nnx.update(module, stats)
  return output


def _of_module(graphdef: nnx.GraphDef, train: bool, weights: nnx.State, stats: nnx.State, args: tuple[Any, ...]) -> tuple[Any, nnx.State]:
  module = nnx.merge(graphdef, weights, stats)
  output = module(*args, train=train)
  return output, nnx.split(module, nnx.BatchStat, ...)[1]


_SEGMENTS = {
  False: segments.segment(_of_module, static_argnums=(0, 1)),
  True: segments.segment(functools.wraps(_of_module)(jax.checkpoint(_of_module, static_argnums=(0, 1))), static_argnums=(0, 1)),
}
