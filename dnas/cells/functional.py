"""The seam between modules and algorithms: networks as pure functions of their arrays.

Everything outside this file that is not a module sees plain arrays. `nnx.split` and `nnx.merge` stand here alone, and what they return is
copied, so that no algorithm can change a module behind its back.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dnas.cells import rectifier
from dnas.cells.residuals import POLICY
from dnas.compiler import marks

Tree = Any
Function = Callable[..., Any]
"""(module, arguments, train) to a tree of arrays; hashable, and equal to another that does the same, which then shares its programs."""


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


def _itself(module: nnx.Module, *args: Any, train: bool) -> Any:
  return module(*args, train=train)


def call_segment(module: nnx.Module, *args: Any, train: bool, rematerialize: bool = False, function: Function = _itself) -> Any:
  """Calls a module as a part of its own (`compiler.marks`), so that modules which are alike are compiled once.

  Args:
    module: a module whose attributes are hashable, modules and arrays aside.
    *args: arrays, or trees of them.
    train: passed on by name; whether the module's batch statistics move.
    rematerialize: whether a gradient computes anew all that lies between the arguments and the output; otherwise, where functions are
      cut at the marks, what is cheap (`residuals`).
    function: what is called with the module and the arguments; by default the module itself.

  Returns:
    The output, a tree of arrays.
  """
  if rectifier.recording():
    return function(module, *args, train=train)
  graphdef, weights, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
  output, stats = _segment(rematerialize)(function, graphdef, train, weights, stats, args)
  if train:
    nnx.update(module, stats)
  return output


def call_stack(
  module: nnx.Module, owned: Sequence[Tree], *args: Any, train: bool, rematerialize: bool = False, function: Function
) -> list[Any]:
  """Calls a module that is a stack of equal parts, as a segment, or where functions are cut at the marks every part as one.

  A part alone fits the caches of a CPU, and parts are alike whatever the height of the stack; an accelerator wants large arrays.

  Args:
    module: a module all of whose arrays begin with an axis that the parts share equally.
    owned: for every part an array, or a tree of them, that begins with such an axis too.
    *args: what all parts are given, as in `call_segment`.
    train: see `call_segment`.
    rematerialize: see `call_segment`.
    function: called with a stack, what its parts own as a stack too, and the other arguments; it returns a list of one output per part.

  Returns:
    The output of every part.
  """
  if len(owned) == 1 or rectifier.recording() or not marks.cutting():
    return call_segment(module, _stacked(owned), *args, train=train, rematerialize=rematerialize, function=function)
  call, (graphdef, weights, stats) = _segment(rematerialize), nnx.split(module, nnx.Param, nnx.BatchStat)
  parts = zip(_taken_apart(weights, len(owned)), _taken_apart(stats, len(owned)), owned, strict=True)
  outputs, moved = zip(*(call(function, graphdef, train, *arrays, (own, *args)) for *arrays, own in parts), strict=True)
  if train:
    nnx.update(module, _put_together(moved))
  return [output for part in outputs for output in part]


def _evaluated(
  function: Function, graphdef: nnx.GraphDef, train: bool, weights: nnx.State, stats: nnx.State, args: tuple[Any, ...]
) -> tuple[Any, nnx.State]:
  module = nnx.merge(graphdef, weights, stats)
  output = function(module, *args, train=train)
  return output, nnx.split(module, nnx.BatchStat, ...)[1]


_STATIC = (0, 1, 2)


def _checkpointed(**options: Any) -> Callable[..., Any]:
  return marks.segment(functools.wraps(_evaluated)(jax.checkpoint(_evaluated, static_argnums=_STATIC, **options)), _STATIC)


_PLAIN = marks.segment(_evaluated, _STATIC)
_KEEPS_NOTHING = _checkpointed()
# As programs of their own, an evaluation and its gradient have no common results that a compiler could find.
_KEEPS_RESIDUALS = _checkpointed(policy=POLICY, prevent_cse=False)


def _segment(rematerialize: bool) -> Callable[..., Any]:
  """Returns `_evaluated` as a segment."""
  if rematerialize:
    return _KEEPS_NOTHING
  return _KEEPS_RESIDUALS if marks.cutting() else _PLAIN


@functools.partial(marks.segment, static_argnums=(1,))
def _taken_apart(tree: Tree, num: int) -> list[Tree]:
  leaves, structure = jax.tree.flatten(tree)
  return [structure.unflatten(parts) for parts in zip(*(jnp.split(leaf, num) for leaf in leaves), strict=True)]


def _stacked(trees: Sequence[Tree]) -> Tree:
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


_put_together = marks.segment(_stacked)
