"""The interface between modules and algorithms: networks as pure functions of their arrays.

Algorithms see plain arrays. Only this file calls `nnx.split` and `nnx.merge`. It copies their results, so that no algorithm changes a
module by a side effect.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import rectifier
from dnas.cells.residuals import POLICY
from dnas.compiler import marks
from dnas.core import keys
from dnas.core.errors import InputError

Tree = Any
Function = Callable[..., Any]
"""Maps (module, arguments, train) to a tree of arrays. It must be hashable. Functions that compare equal share compiled programs."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights", "stats"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Variables:
  """The arrays of a network.

  Attributes:
    weights: the arrays that the weight optimizer trains.
    stats: all other changing arrays: running batch statistics, and the counts of random streams.
  """

  weights: Tree
  stats: Tree


@dataclasses.dataclass(frozen=True)
class Network:
  """The static part of a module. It is hashable, so that it can be a static argument of a compiled function."""

  graphdef: nnx.GraphDef


def split(module: nnx.Module) -> tuple[Network, Variables]:
  """Splits a module into its static part and its arrays."""
  graphdef, weights, stats = nnx.split(module, nnx.Param, ...)
  return Network(graphdef), Variables(nnx.to_pure_dict(weights), nnx.to_pure_dict(stats))


def apply(network: Network, variables: Variables, *args: Any, **kwargs: Any) -> tuple[Any, Tree]:
  """Calls the module on given arrays.

  Args:
    network: the static part that `split` returned.
    variables: arrays of the same structure.
    *args: arguments of the module.
    **kwargs: keyword arguments of the module.

  Returns:
    The module's output, and the `stats` after the call. `variables` stay as they are.
  """
  return call(network, variables, lambda module: module(*args, **kwargs))


def call(network: Network, variables: Variables, function: Callable[[Any], Any]) -> tuple[Any, Tree]:
  """Calls a function of the module on given arrays, and returns its output and the `stats` after the call; see `apply`."""
  module = nnx.merge(network.graphdef, nnx.State(variables.weights), nnx.State(variables.stats))
  output = function(module)
  _, _, stats = nnx.split(module, nnx.Param, ...)
  return output, nnx.to_pure_dict(stats)


@dataclasses.dataclass(frozen=True)
class Free:
  """The static part of a module of a user's own, which may have random streams and modes as Flax defines them. It is hashable.

  The streams are no part of the variables: `apply_free` begins all of them anew, from its argument `key`.

  Attributes:
    graphdef: the static part of the module.
    streams: the tree structure of its random streams, and for every leaf its shape and whether it is a random key.
    takes_train: whether the call has an argument `train`.
  """

  graphdef: nnx.GraphDef
  streams: tuple[Any, tuple[tuple[tuple[int, ...], bool], ...]]
  takes_train: bool


def split_free(module: nnx.Module) -> tuple[Free, Variables]:
  """Splits a module of a user's own into its static part and its arrays."""
  graphdef, weights, streams, stats = nnx.split(module, nnx.Param, nnx.RngState, ...)
  leaves, structure = jax.tree.flatten(streams)
  kinds = tuple((leaf.shape, jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)) for leaf in leaves)
  takes_train = "train" in inspect.signature(module.__call__).parameters  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
  return Free(graphdef, (structure, kinds), takes_train), Variables(nnx.to_pure_dict(weights), nnx.to_pure_dict(stats))


def apply_free(
  network: Free, variables: Variables, inputs: Any, key: jax.Array, train: bool, batch_statistics: bool = False
) -> tuple[Any, Tree]:
  """Calls a module of a user's own on given arrays.

  Args:
    network: the static part that `split_free` returned.
    variables: arrays of the same structure.
    inputs: the argument of the module.
    key: typed random key of all random streams of the module.
    train: whether the module is in training mode: by `nnx`'s `train()` and `eval()`, and by its argument `train`, if it has one.
    batch_statistics: whether normalizations take the statistics of the batch also in inference mode. A module that has an argument `train`
      then gets True.

  Returns:
    The module's output, and the `stats` after the call. `variables` stay as they are.
  """
  structure, kinds = network.streams
  fresh = [
    jax.random.split(keys.derive(key, "stream", index), shape) if is_key else jnp.zeros(shape, jnp.uint32)
    for index, (shape, is_key) in enumerate(kinds)
  ]
  streams = jax.tree.unflatten(structure, fresh)
  module = nnx.merge(network.graphdef, nnx.State(variables.weights), streams, nnx.State(variables.stats))
  module.train() if train else module.eval()
  if batch_statistics:
    module.set_attributes(use_running_average=False, raise_if_not_found=False)
  output = module(inputs, train=train or batch_statistics) if network.takes_train else module(inputs)
  _, _, _, stats = nnx.split(module, nnx.Param, nnx.RngState, ...)
  return output, nnx.to_pure_dict(stats)


def inherit(module: nnx.Module, variables: Variables, shortened: Collection[tuple[int, int]] = ()) -> None:
  """Copies arrays into a module that `split_free` would split in the same way. A smaller array gets the first entries along every axis.

  Args:
    module: the module; its arrays are replaced.
    variables: the arrays.
    shortened: the pairs (length in `variables`, length in the module) that an axis may have if the lengths differ.

  Raises:
    InputError: for an axis whose two lengths differ and are no such pair.
  """
  pairs = [pair for tree in (variables.weights, variables.stats) for pair in jax.tree_util.tree_flatten_with_path(tree)[0]]
  given = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in pairs}
  own = nnx.to_pure_dict(nnx.state(module, nnx.filterlib.Not(nnx.RngState)))

  def first(path: Any, leaf: jax.Array) -> jax.Array:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    long = given[name]
    if any(pair[0] != pair[1] and pair not in shortened for pair in zip(long.shape, leaf.shape, strict=True)):
      shapes = f"{name} has the shape {long.shape} in the search and {leaf.shape} in the network found"
      raise InputError(f"{shapes}, which is no choice of a width alone, so it inherits nothing; take fresh weights, without inherit.")
    return long[tuple(slice(size) for size in leaf.shape)]

  nnx.update(module, nnx.State(jax.tree_util.tree_map_with_path(first, own)))


def _itself(module: nnx.Module, *args: Any, train: bool) -> Any:
  return module(*args, train=train)


def call_segment(module: nnx.Module, *args: Any, train: bool, rematerialize: bool = False, function: Function = _itself) -> Any:
  """Calls a module as a separate segment (`compiler.marks`), so that equal modules are compiled once.

  Args:
    module: a module whose attributes are modules, arrays or hashable.
    *args: arrays, or trees of arrays.
    train: whether the module's batch statistics are updated; passed on by name.
    rematerialize: whether a gradient recomputes everything between the arguments and the output. Otherwise, if functions are cut at the
      marks, it recomputes the cheap arrays only (`residuals`).
    function: called with the module and the arguments; by default it calls the module.

  Returns:
    The output, a tree of arrays.
  """
  if rectifier.recording():
    return function(module, *args, train=train)
  graphdef, weights, stats = nnx.split(module, nnx.Param, ...)
  output, stats = _segment(rematerialize)(function, graphdef, train, weights, stats, args)
  if train:
    nnx.update(module, stats)
  return output


def call_stack(
  module: nnx.Module, owned: Sequence[Tree], *args: Any, train: bool, rematerialize: bool = False, function: Function
) -> list[Any]:
  """Calls a module that is a stack of equal parts: as one segment per part if functions are cut at the marks, else as one segment.

  One part fits the caches of a CPU, and stacks of any height share the program of a part. An accelerator needs large arrays.

  Args:
    module: a module whose arrays all begin with an axis that the parts share equally.
    owned: one array, or tree of arrays, per part; each begins with such an axis too.
    *args: arguments that all parts receive, as in `call_segment`.
    train: see `call_segment`.
    rematerialize: see `call_segment`.
    function: called with a stack of parts, the concatenation of their `owned`, and `args`; returns a list with one output per part.

  Returns:
    The output of every part.
  """
  if len(owned) == 1 or rectifier.recording() or not marks.cutting():
    return call_segment(module, _stacked(owned), *args, train=train, rematerialize=rematerialize, function=function)
  call, (graphdef, weights, stats) = _segment(rematerialize), nnx.split(module, nnx.Param, ...)
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
  _, _, stats = nnx.split(module, nnx.Param, ...)
  return output, stats


_STATIC = (0, 1, 2)


def _checkpointed(**options: Any) -> Callable[..., Any]:
  return marks.segment(functools.wraps(_evaluated)(jax.checkpoint(_evaluated, static_argnums=_STATIC, **options)), _STATIC)


_PLAIN = marks.segment(_evaluated, _STATIC)
_KEEPS_NOTHING = _checkpointed()
# A loss and its gradient are separate programs here, so a compiler has no common subexpressions to find in them.
_KEEPS_RESIDUALS = _checkpointed(policy=POLICY, prevent_cse=False)


def _segment(rematerialize: bool) -> Callable[..., Any]:
  """Returns `_evaluated` as a segment."""
  if rematerialize:
    return _KEEPS_NOTHING
  return _KEEPS_RESIDUALS if marks.cutting() else _PLAIN


@functools.partial(marks.segment, static_argnums=(1,))
def _taken_apart(tree: Tree, num: int) -> list[Tree]:
  leaves, structure = jax.tree.flatten(tree)
  split = [jnp.split(leaf, num) for leaf in leaves]
  return [structure.unflatten([parts[index] for parts in split]) for index in range(num)]


def _stacked(trees: Sequence[Tree]) -> Tree:
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


_put_together = marks.segment(_stacked)


class Repeated(nnx.Module):
  """A stack of modules of equal structure on one input. Every array begins with an axis for the modules.

  So a module can be written without a stack axis. Its batch statistics and random streams (`nnx.BatchNorm`, `nnx.Dropout`) are part of
  `Variables.stats`. `nnx`'s `train()` and `eval()` switch it between training and inference. If its call has an argument `train`, that is
  passed too.
  """

  def __init__(self, name: str, modules: Sequence[nnx.Module]):
    """Stacks the modules; `name` appears in error messages."""
    self.name, self.takes_train = name, "train" in inspect.signature(modules[0].__call__).parameters
    (graphdef, *_), states = nnx.split(modules[0]), [nnx.split(module)[1] for module in modules]
    self.modules = nnx.merge(graphdef, jax.tree.map(_side_by_side, *states))

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [1, B, H, W, C] to [modules, B, H', W', D]. Raises InputError for a module that does not return [1, B, H', W', D]."""
    graphdef, weights, keys, stats = nnx.split(self.modules, nnx.Param, nnx.RngKey, ...)

    def call(weights: nnx.State, keys: nnx.State, stats: nnx.State) -> tuple[jax.Array, nnx.State]:
      module = nnx.merge(graphdef, weights, jax.tree.map(jax.random.wrap_key_data, keys), stats)
      module.train() if train else module.eval()
      output = module(x, train=train) if self.takes_train else module(x)
      _, _, _, stats = nnx.split(module, nnx.Param, nnx.RngKey, ...)
      return output, stats

    output, stats = jax.vmap(call)(weights, keys, stats)
    if output.ndim != 6 or output.shape[1:3] != x.shape[:2]:
      raise InputError(f"operation '{self.name}' maps {x.shape} to {output.shape[1:]}; its module must return [1, B, H, W, C].")
    if train:
      nnx.update(self.modules, stats)
    return output[:, 0].astype(x.dtype)


def _side_by_side(*leaves: jax.Array) -> jax.Array:
  """Stacks arrays on the host. Random keys become their raw integers, since checkpoints hold numbers."""
  numbers = (jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in leaves)
  return jax.device_put(np.stack([np.asarray(leaf) for leaf in numbers]), may_alias=False)
