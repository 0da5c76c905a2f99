"""Values, gradients and Hessian products of a function that was cut: piece by piece, forwards and then backwards.

A piece is differentiated by `jax.vjp`; what its forward program returns beside the outputs is what its backward program needs. In a Hessian
product both are differentiated along the direction by `jax.jvp`. Equal pieces of all functions share their programs.
"""

import functools
import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dnas.compiler.pieces import Piece, Traced, constant, shape_of
from dnas.compiler.programs import Builder, Evaluation, Program, Sequenced

Mask = tuple[bool, ...]

_PROGRAMS: weakref.WeakValueDictionary[Hashable, Program] = weakref.WeakValueDictionary()
"""Programs by what they compute, as long as something that calls them lives."""


def forget() -> None:
  """Lets functions that are compiled from now on share no program with those of before."""
  _PROGRAMS.clear()


def kept(key: Hashable, name: str, function: Callable[..., Any], arguments: Any) -> Program:
  """Returns the program of this key, see `Program`; it is made only if there is none."""
  program = _PROGRAMS.get(key)
  if program is None:
    program = _PROGRAMS[key] = Program(name, function, arguments)
  return program


class Wanted(NamedTuple):
  """In which variables a loss, the first result of a function, is differentiated.

  Attributes:
    ever: all in which it will be in any function; forward programs are made for them, and so shared.
    gradients: those whose gradients are returned.
    along: those that move in a direction, if any do; then the derivatives of the gradients in this direction are returned.
  """

  ever: Sequence[Any] = ()
  gradients: Sequence[Any] = ()
  along: Sequence[Any] = ()


class Chain:
  """Puts together the programs of a function and of the derivatives of its loss."""

  def __init__(self, traced: Traced, cut: Sequence[Piece], wanted: Wanted, evaluations: Mapping[str, Any] | None = None):
    """`evaluations` are pieces, by their names, that are functions from elsewhere with the tree of their arguments."""
    self._evaluations = evaluations or {}
    self._traced, self._cut, self._wanted, loss = traced, cut, wanted, traced.results[0]
    self._ever, self._gradients, self._along = (_reached(cut, variables) for variables in wanted)
    self._ends, self._live = set(wanted.gradients), _carrying(cut, self._ever, loss)
    ones = [np.ones(loss.aval.shape, loss.aval.dtype)] if wanted.gradients else []
    self._call = Builder([*(value for _, value in traced.consts), *ones], [v.aval for v in (*traced.inputs, *wanted.along)])
    inputs = iter(self._call.inputs)
    self._values = {v: slot for (v, _), slot in zip(traced.consts, self._call.consts, strict=False)}
    self._values |= zip(traced.inputs, inputs, strict=False)
    self._tangents = dict(zip(wanted.along, inputs, strict=True))  # along the direction
    self._cotangents: dict[Any, list[int]] = {loss: [*self._call.consts[-1:]]} if ones else {}  # the parts of their sums
    self._changes: dict[Any, list[int]] = {}  # of the cotangents, along the direction

  def sequence(self, waits: bool) -> Sequenced:
    """Returns what computes the results of the function and then the gradients, or with a direction their derivatives alone.

    The parts of the direction are arguments after the others. `waits` says whether programs wait for those before them.
    """
    forward = [self._forward(*one) for one in zip(self._cut, self._ever, self._live, self._along, strict=True)]
    for piece, live, gradients, made in reversed(list(zip(self._cut, self._live, self._gradients, forward, strict=True))):
      if any(live) and any(gradients):
        self._backward(piece, live, gradients, *made)
    if self._wanted.along:
      return self._call.sequence([self._sum(self._changes, v) for v in self._wanted.gradients], waits)
    results = [self._values[v] if constant(v) is None else constant(v) for v in self._traced.results]
    return self._call.sequence([*results, *(self._sum(self._cotangents, v) for v in self._wanted.gradients)], waits)

  def _forward(self, piece: Piece, ever: Mask, live: Mask, along: Mask) -> tuple[Program, Mask, Any]:
    """Calls a piece; returns its program, in what it is differentiated, and slots of the pulled-back function and of what changes it."""
    moving = [v for v, on in zip(piece.inputs, along, strict=True) if on]
    if piece.name in self._evaluations:
      slots = self._call(Evaluation(piece, *self._evaluations[piece.name]), [self._values[v] for v in piece.inputs])
      self._values |= zip(piece.outputs, slots, strict=True)
      return None, ever, None
    arguments = list(map(shape_of, piece.inputs)), list(map(shape_of, moving))
    program = kept((piece.key, ever, live, along), piece.name, _forward(piece, ever, live, along), arguments)
    given = [self._values[v] for v in piece.inputs], [self._tangents[v] for v in moving]
    outputs, tangents, pull_back, changes = self._call(program, given)
    self._values |= zip(piece.outputs, outputs, strict=True)
    self._tangents |= {v: slot for v, slot in zip(piece.outputs, tangents, strict=True) if slot is not None} if moving else {}
    return program, ever, (pull_back, changes)

  def _backward(self, piece: Piece, live: Mask, gradients: Mask, forward: Program, ever: Mask, saved: Any) -> None:
    """Calls the pulled-back function of a piece, and adds what it makes to the sums of its inputs."""
    made = [v for v, on in zip(piece.outputs, live, strict=True) if on]
    given = *saved, [self._sum(self._cotangents, v) for v in made], [self._sum(self._changes, v, None) for v in made]
    wanted = tuple(on for on, of in zip(gradients, ever, strict=True) if of)
    receivers = [v for v, on in zip(piece.inputs, gradients, strict=True) if on]
    # Of what ends in an argument, only the derivative is wanted where there is a direction.
    passed = tuple(not self._wanted.along or v not in self._ends for v in receivers)
    changing = tuple(slot is not None for slot in given[3])
    shapes = *forward.out[2:], list(map(shape_of, made)), [shape_of(v) if on else None for v, on in zip(made, changing, strict=True)]
    function = _backward(wanted, passed, bool(self._wanted.along))
    program = kept((forward, wanted, passed, changing, bool(self._wanted.along)), f"{piece.name}_backward", function, shapes)
    for sums, slots in zip((self._cotangents, self._changes), self._call(program, given), strict=True):
      for v, slot in zip(receivers, slots, strict=True):
        if slot is not None:
          sums.setdefault(v, []).append(slot)

  def _sum(self, sums: dict[Any, list[int]], v: Any, nothing: Any = np.zeros) -> Any:
    """Returns the slot of a sum; where it has no parts an array from `nothing`, or None."""
    parts = sums.get(v, [])
    if not parts:
      return nothing and nothing(v.aval.shape, v.aval.dtype)
    if len(parts) > 1:
      program = kept(("sum", len(parts), v.aval), "sum", lambda parts: functools.reduce(lax.add, parts), ([shape_of(v)] * len(parts),))
      sums[v] = [self._call(program, parts)]
    return sums[v][0]


def _is_float(x: Any) -> bool:
  return jnp.issubdtype(x.dtype, jnp.inexact)


def _reached(cut: Sequence[Piece], variables: Iterable[Any]) -> list[Mask]:
  """Returns for every piece which of its inputs depend on some variables."""
  known, masks = set(variables), []
  for piece in cut:
    masks.append(tuple(v in known for v in piece.inputs))
    if any(masks[-1]):
      known.update(v for v in piece.outputs if _is_float(v.aval))
  return masks


def _carrying(cut: Sequence[Piece], differentiated: Sequence[Mask], loss: Any) -> list[Mask]:
  """Returns for every piece through which of its outputs the loss depends on differentiated inputs."""
  carrying, masks = {loss}, []
  for piece, mask in zip(reversed(cut), reversed(differentiated), strict=True):
    masks.append(tuple(any(mask) and v in carrying for v in piece.outputs))
    if any(masks[-1]):
      carrying.update(v for v, on in zip(piece.inputs, mask, strict=True) if on)
  return masks[::-1]


def _chosen(values: Sequence[Any], mask: Mask) -> list[Any]:
  return [value for value, on in zip(values, mask, strict=True) if on]


def _forward(piece: Piece, ever: Mask, live: Mask, along: Mask) -> Callable[..., Any]:
  """Returns the function (inputs, tangents of those along the direction) to outputs, tangents, pulled-back function and its change."""

  def run(inputs: Sequence[jax.Array]) -> tuple[list[jax.Array], Any]:
    if not any(live):
      return piece.call(*inputs), None

    def differentiable(chosen: Sequence[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
      rest = iter(chosen)
      outputs = piece.call(*(next(rest) if on else x for x, on in zip(inputs, ever, strict=True)))
      return _chosen(outputs, live), outputs

    _, pull_back, outputs = jax.vjp(differentiable, _chosen(inputs, ever), has_aux=True)
    return outputs, pull_back

  def forward(inputs: Sequence[jax.Array], tangents: Sequence[jax.Array]) -> tuple[Any, ...]:
    if not any(along):
      outputs, pull_back = run(inputs)
      return outputs, None, pull_back, None

    def moved(moving: Sequence[jax.Array]) -> tuple[list[jax.Array], Any]:
      rest = iter(moving)
      return run([next(rest) if on else x for x, on in zip(inputs, along, strict=True)])

    made, changes = jax.jvp(moved, (_chosen(inputs, along),), (list(tangents),))
    return made[0], *_without_empty(changes[:1]), made[1], *_without_empty(changes[1:])

  return forward


def _backward(wanted: Mask, passed: Mask, moves: bool) -> Callable[..., Any]:
  """Returns the function (pulled-back function, its change, cotangents, their changes) to the wanted gradients and their changes."""

  def backward(pull_back: Any, change: Any, cotangents: list[jax.Array], changes: list[jax.Array | None]) -> tuple[list[Any], list[Any]]:
    def gradients(pull_back: Any, cotangents: list[jax.Array]) -> list[jax.Array]:
      return _chosen(pull_back(cotangents)[0], wanted)

    if not moves:
      return gradients(pull_back, cotangents), [None] * len(passed)
    leaves, structure = jax.tree.flatten(pull_back)
    given = itertools.repeat(None) if change is None else jax.tree.leaves(change, is_leaf=lambda x: x is None)
    change = structure.unflatten(map(_tangent, leaves, given))
    tangents = change, list(map(_tangent, cotangents, changes))
    found, moved = jax.jvp(gradients, (pull_back, cotangents), tangents)
    return [g if on else None for g, on in zip(found, passed, strict=True)], moved

  return backward


def _without_empty(tangents: Any) -> Any:
  """Puts None to what has no tangent, such as integers."""
  return jax.tree.map(lambda x: None if x.dtype == jax.dtypes.float0 else x, tangents)


def _tangent(x: jax.Array, given: jax.Array | None) -> Any:
  """Returns the tangent of a value: the given one, or zero."""
  if given is not None:
    return given
  return jnp.zeros_like(x) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0)
