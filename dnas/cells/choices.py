"""Choices in networks of a user's own: among modules, among inputs, and among numbers of channels.

A network is any `nnx` module with choices among its attributes, also within lists, dictionaries and other modules. Each choice has a name.
Choices of one name are one decision, as the cells of one type share their architecture. Choices may stand inside options of other choices.

The mixture weights of a search are an argument of the network's pure function (`supernet.choice_network`). They are bound to the choices by
name while the network is called (`mixing`). So they are no variables of a module.

Sources: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2, for `Choice`; Xu et al., "PC-DARTS", ICLR 2020, equation 4, for
`InputChoice`; Wan et al., "FBNetV2", CVPR 2020, section 3.2, for `WidthChoice`.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.core.choice_space import ChoiceGenotype, Path, check_choice_name, check_options
from dnas.core.config import is_whole
from dnas.core.errors import InputError, shown

Option = nnx.Module | Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class _Bound:
  """What choices see while a network is called: the mixture weights by name, [1, options], and whether statistics are updated."""

  mixture: Mapping[str, Any]
  train: bool


_bound: contextvars.ContextVar[_Bound | None] = contextvars.ContextVar("mixture", default=None)
_built: contextvars.ContextVar[ChoiceGenotype | None] = contextvars.ContextVar("built", default=None)


@contextlib.contextmanager
def mixing(mixture: Mapping[str, Any], train: bool) -> Iterator[None]:
  """Binds mixture weights, name to [1, options], to the choices of the networks that are called inside. It may be nested."""
  token = _bound.set(_Bound(mixture, train))
  try:
    yield
  finally:
    _bound.reset(token)


@contextlib.contextmanager
def building(genotype: ChoiceGenotype | None) -> Iterator[None]:
  """Networks that are built inside have the widths of this architecture; None builds all for a search."""
  token = _built.set(genotype)
  try:
    yield
  finally:
    _built.reset(token)


class Named(nnx.Module):
  """What choices have in common.

  Attributes:
    name: name of the choice.
    options: names of the options.
    keep: number of options that an architecture keeps.
  """

  def __init__(self, name: str, options: Sequence[str], keep: int = 1):
    check_choice_name("choice", name)
    check_options(name, options)
    if not is_whole(keep) or not 1 <= keep < len(options):
      raise InputError(f"choice '{name}' keeps {shown(keep)} of {len(options)} options; keep at least 1 and at most {len(options) - 1}.")
    self.name, self.options, self.keep = name, tuple(options), keep

  def _weights(self) -> jax.Array:
    """Returns the mixture weights of the options, [options]."""
    return _of(self)[self.name][0]


def _of(choice: Named) -> Mapping[str, Any]:
  bound = _bound.get()
  if bound is None or choice.name not in bound.mixture:
    hint = "search the network with dnas.search_network, or call what dnas.SearchableNetwork(...).derive(genotype) returns"
    raise InputError(f"choice '{choice.name}' has no mixture weights in a plain call of its network; {hint}.")
  return bound.mixture


class Choice(Named):
  """A choice of one among several modules or functions.

    self.block = dnas.Choice("block1", conv3=nnx.Conv(8, 8, (3, 3), rngs=rngs), conv5=nnx.Conv(8, 8, (5, 5), rngs=rngs), skip=nnx.identity)
    x = self.block(x)

  All options are called with the arguments of the choice. In a search its output is the sum of their outputs, weighted by the mixture. In a
  derived network the chosen option stands in its place. An option of the name 'skip', 'skip_connect' or 'identity' counts as a skip
  connection, and 'none' as no connection, in the diagnoses of a search and in the remedies against collapse.
  """

  def __init__(self, name: str, options: Mapping[str, Option] | Sequence[tuple[str, Option]] = (), /, **named: Option):
    """Makes the choice.

    Args:
      name: name of the choice.
      options: options whose names are no Python words: a mapping, or pairs of name and option.
      **named: further options by name.

    Raises:
      InputError: for a single option, two options of one name, a name that cannot be used, or an option that cannot be called.
    """
    pairs: list[Any] = [*(options.items() if isinstance(options, Mapping) else _listed(options)), *named.items()]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
      raise InputError(f"choice {shown(name)} has the options {shown(options)}; give them by name, such as skip=nnx.identity.")
    super().__init__(name, [option for option, _ in pairs])
    for option, value in pairs:
      if not callable(value):
        raise InputError(f"choice '{name}', option '{option}': {shown(value)} cannot be called; give a module or a function.")
    self.modules = nnx.List([value for _, value in pairs])

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Returns the weighted sum of the outputs of the options.

    Raises:
      InputError: if the outputs differ in structure or shape, or no mixture is bound.
    """
    mixture = _of(self)
    nested = {one.name: mixture[one.name] for one in choices_in(self) if one is not self}
    leaves, structure = jax.tree.flatten((args, kwargs))
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    fixed = tuple(None if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
    arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]
    bound = _bound.get()
    function = _Mixed(structure, fixed, (self.name, self.options))
    train = bound is not None and bound.train
    return functional.call_segment(self.modules, mixture[self.name], nested, arrays, train=train, function=function)


@dataclasses.dataclass(frozen=True)
class _Mixed:
  """The mixture of the options of a choice, as a function for `functional.call_segment`.

  Choices that differ in their name alone compare equal, so they share programs.

  Attributes:
    structure: tree structure of the arguments.
    fixed: the leaves that are no arrays; None for the others.
    choice: name and options of the choice, for the words of an error.
  """

  structure: Any
  fixed: tuple[Any, ...]
  choice: tuple[str, tuple[str, ...]] = dataclasses.field(compare=False)

  def __call__(
    self, modules: Sequence[Option], mixture: jax.Array, nested: Mapping[str, jax.Array], arrays: Sequence[jax.Array], train: bool
  ) -> Any:
    remaining = iter(arrays)
    args, kwargs = jax.tree.unflatten(self.structure, [next(remaining) if leaf is None else leaf for leaf in self.fixed])
    with mixing(nested, train):
      outputs = [module(*args, **kwargs) for module in modules]
    _check_equal(*self.choice, outputs)
    return _weighted(mixture[0], outputs)


def _listed(value: Any) -> list[Any]:
  """Returns the elements of what was given; the value itself if it has none."""
  value = value.tolist() if isinstance(value, np.ndarray) else value
  return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _weighted(weights: jax.Array, outputs: Sequence[Any]) -> Any:
  """Returns the weighted sum of trees of arrays."""

  def mix(*leaves: jax.Array) -> jax.Array:
    total = sum(weights[column] * leaf for column, leaf in enumerate(leaves))
    return jnp.asarray(total).astype(jnp.result_type(*leaves))

  return jax.tree.map(mix, *outputs)


def _check_equal(choice: str, options: Sequence[str], outputs: Sequence[Any]) -> None:
  """Raises InputError, with both shapes, if two options do not have outputs of one structure and shape."""
  first = jax.tree.map(jnp.shape, outputs[0])
  for option, output in zip(options[1:], outputs[1:], strict=True):
    shape = jax.tree.map(jnp.shape, output)
    if shape != first:
      words = f"option '{options[0]}' gives {first} and option '{option}' gives {shape}"
      raise InputError(f"choice '{choice}': {words}; make their outputs equal in shape.")


class InputChoice(Named):
  """A choice of one or several among given arrays.

    self.merge = dnas.InputChoice("merge", ("early", "late", "both"), keep=2)
    x = self.merge([early, late, both])

  In a search its output is the weighted sum of the arrays; in a derived network it is the sum of those kept. As in DARTS, the arrays with
  the largest weights are kept.
  """

  def __init__(self, name: str, inputs: Sequence[str] | int, keep: int = 1):
    """Makes the choice.

    Args:
      name: name of the choice.
      inputs: names of the arrays, or their number; then their names are input0, input1 and so on.
      keep: number of arrays that an architecture keeps.

    Raises:
      InputError: for fewer than two arrays, two of one name, or a number to keep that leaves nothing to choose.
    """
    given: Any = inputs
    super().__init__(name, [f"input{index}" for index in range(given)] if is_whole(given) else given, keep)

  def __call__(self, inputs: Sequence[Any]) -> Any:
    """Returns the weighted sum of arrays, or trees of arrays, of one shape. Raises InputError for another number, or other shapes."""
    if len(inputs) != len(self.options):
      raise InputError(f"choice '{self.name}' gets {len(inputs)} inputs and has {len(self.options)} names: {', '.join(self.options)}.")
    _check_equal(self.name, self.options, inputs)
    return _weighted(self._weights(), inputs)


class WidthChoice(Named):
  """A choice of a number of channels. All widths share their weights: a width has the first channels of the largest.

    self.width = dnas.WidthChoice("width1", (8, 16, 32))
    self.conv = nnx.Conv(3, self.width.channels, (3, 3), rngs=rngs)
    self.head = nnx.Linear(self.width.channels, 10, rngs=rngs)
    ...
    x = self.width(nnx.relu(self.conv(x)))

  In a search the channels are multiplied by the weighted sum of masks (FBNetV2, equation 3). A derived network is built anew with the
  chosen number, and inherits the first channels of the weights. Both compute the same if the choice is called right before the layers that
  read the channels, and no layer before it mixes them: a batch normalization may stand before it, a layer normalization may not.

  Attributes:
    channels: the number to build layers with: the largest in a search, the chosen one in a derived network.
  """

  def __init__(self, name: str, widths: Sequence[int]):
    """Makes the choice. Raises InputError for widths that are no ascending whole numbers above zero, or a single one."""
    given = _listed(widths)
    if not given or not all(map(is_whole, given)) or given != sorted(given) or given[0] < 1:
      raise InputError(f"choice {shown(name)} has the widths {shown(widths)}; give ascending whole numbers above zero.")
    super().__init__(name, [str(width) for width in given])
    self.widths, genotype = tuple(given), _built.get()
    chosen = dict(genotype.choices) if genotype else {}
    self.channels = int(chosen[name][0]) if name in chosen else self.widths[-1]

  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns [..., channels], masked. Raises InputError for another number of channels."""
    if x.shape[-1] != self.channels:
      hint = f"build the layers before it with its `channels`, {self.channels}"
      raise InputError(f"choice '{self.name}' gets {x.shape[-1]} channels; {hint}.")
    masks = np.arange(self.channels) < np.array(self.widths)[:, None]
    return x * jnp.asarray(self._weights() @ masks.astype(np.float32), x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def children(value: Any) -> list[tuple[Any, Any]]:
  """Returns the parts of a module or container that may hold choices, by their keys."""
  if isinstance(value, nnx.Module):
    return [(name, part) for name, part in vars(value).items() if not name.startswith("_pytree__")]
  if isinstance(value, dict):
    return list(value.items())
  return list(enumerate(value)) if isinstance(value, list | tuple) else []


def places(value: Any, path: Path = (), within: tuple[int, ...] = ()) -> Iterator[tuple[Named, Path]]:
  """Yields every choice at every place where it stands, outer ones first, with the options around it."""
  if id(value) in within:
    return
  within = (*within, id(value))
  if isinstance(value, Named):
    if value.name in [name for name, _ in path]:
      raise InputError(f"choice '{value.name}' stands inside one of its own options; give it another name.")
    yield value, path
  for key, part in children(value):
    if isinstance(value, Choice) and key == "modules":
      for option, module in zip(value.options, value.modules, strict=True):
        yield from places(module, (*path, (value.name, option)), within)
    else:
      yield from places(part, path, within)


def choices_in(value: Any) -> list[Named]:
  """Returns all choices of a module, once for every place."""
  return [choice for choice, _ in places(value)]
