"""Chains for a cut function: its results, the gradients of its first result, and the derivative of those gradients along a direction."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dnas.compiler.chain import Chain, kept, shape_of
from dnas.compiler.pieces import Piece, Traced, Variable, reached, variables

Mask = tuple[bool, ...]


def gradient(traced: Traced, cut: Sequence[Piece], ever: Collection[Variable], wanted: Sequence[Variable], waits: bool) -> Chain:
  """Returns the chain that computes a function's results and then its gradients: all pieces forwards, then all pieces backwards.

  Args:
    traced: the function.
    cut: the pieces of the function.
    ever: all variables in which any chain differentiates the function. Forward programs serve all of them, so chains share these programs.
    wanted: the variables in which this chain differentiates the function.
    waits: see `Chain`.
  """
  loss, given = traced.results[0], [*traced.consts, *traced.inputs]
  chain = Chain(list(traced.consts.values()), len(traced.inputs), waits)
  slots: dict[Any, int] = dict(zip(given, range(len(given)), strict=True))
  parts: dict[Any, list[int]] = {loss: [_filled(chain, loss, 1)]} if wanted else {}
  tape = []

  def total(v: Variable) -> int:
    """Returns the slot of the gradient in a variable: the sum of the parts found so far, or zeros if there are none."""
    if len(parts.get(v, ())) > 1:
      program = kept(("sum", len(parts[v]), v.aval), "sum", lambda x: functools.reduce(lax.add, x), ([shape_of(v)] * len(parts[v]),))
      parts[v] = [chain.add(program, parts[v])]
    return parts[v][0] if v in parts else _filled(chain, v, 0)

  for piece, (mask, live) in zip(cut, _masks(cut, ever, loss), strict=True):
    forward, shapes = functools.partial(_forward, piece, mask, live), list(map(shape_of, piece.inputs))
    program = kept(("forward", piece.key, mask, live), piece.name, forward, (shapes,))
    outputs, pull_back = chain.add(program, [slots[v] for v in piece.inputs])
    slots.update(zip(piece.outputs, outputs, strict=True))
    tape.append((piece, mask, live, program, pull_back))
  known = _known(cut, wanted)
  for piece, mask, live, program, pull_back in reversed(tape):
    receivers = [v for v in _chosen(piece.inputs, mask) if v in known]
    if receivers:
      made, keeps = _chosen(piece.outputs, live), tuple(v in known for v in _chosen(piece.inputs, mask))
      shapes = program.out[1], list(map(shape_of, made))
      backward = kept(("backward", program, keeps), f"{piece.name}_backward", functools.partial(_backward, keeps), shapes)
      for v, slot in zip(receivers, chain.add(backward, (pull_back, list(map(total, made)))), strict=True):
        parts.setdefault(v, []).append(slot)
  return chain.end([*(slots[v] if variables([v]) else np.asarray(v.val, v.aval.dtype) for v in traced.results), *map(total, wanted)])


def along(chain: Chain, moving: Sequence[int], wanted: Sequence[Variable]) -> Chain:
  """Returns the chain of the directional derivative of another chain's gradients in `wanted`.

  `moving` holds the numbers of the inputs that move. The new chain takes the direction's arrays as inputs after the other inputs.
  """
  other = Chain(chain.consts, chain.given - len(chain.consts) + len(moving), chain.waits)
  slots = {slot: slot for slot in range(chain.given)}
  tangents = {len(chain.consts) + number: chain.given + place for place, number in enumerate(moving)}
  for program, reads, writes in chain.calls:
    mask = tuple(slot in tangents for slot in reads)
    arguments = program.shapes, _chosen(program.shapes, mask)
    moved = kept(("along", program, mask), program.jitted.__name__, functools.partial(_moved, program.function, mask), arguments)
    made, changes = other.add(moved, ([slots[slot] for slot in reads], [tangents[slot] for slot in reads if slot in tangents]))
    slots.update(zip(writes, made, strict=True))
    tangents.update((slot, tangent) for slot, tangent in zip(writes, changes, strict=True) if tangent is not None)
  gradients = chain.results[len(chain.results) - len(wanted) :]
  return other.end([tangents[slot] if slot in tangents else _filled(other, v, 0) for slot, v in zip(gradients, wanted, strict=True)])


def _filled(chain: Chain, v: Variable, value: float) -> int:
  """Returns the slot of an array with the shape and type of a variable, filled with one value."""
  program = kept((value, v.aval), "full", lambda: jnp.full(v.aval.shape, value, v.aval.dtype), ())
  return chain.add(program, ())


def _known(cut: Sequence[Piece], start: Collection[Variable]) -> set[Variable]:
  """Returns the variables with a derivative in the variables of `start`, these included."""
  known = set(start)
  for piece in cut:
    known |= reached(piece.eqns, known.intersection(piece.inputs))
  return known


def _masks(cut: Sequence[Piece], ever: Collection[Variable], loss: Variable) -> list[tuple[Mask, Mask]]:
  """Returns for every piece the (inputs, outputs) masks of the values on a path of derivatives from the variables `ever` to the loss."""
  known, carrying, masks = _known(cut, ever), {loss}, []
  for piece in reversed(cut):
    live = [v for v in piece.outputs if v in carrying and v in known]
    passing = known.intersection(reached(piece.eqns, live, backward=True), piece.inputs)
    carrying |= passing
    masks.append((tuple(v in passing for v in piece.inputs), tuple(v in live for v in piece.outputs)))
  return masks[::-1]


def _chosen(values: Sequence[Any], mask: Mask) -> list[Any]:
  return [value for value, on in zip(values, mask, strict=True) if on]


def _replaced(values: Sequence[Any], mask: Mask, others: Sequence[Any]) -> list[Any]:
  rest = iter(others)
  return [next(rest) if on else value for value, on in zip(values, mask, strict=True)]


def _forward(piece: Piece, mask: Mask, live: Mask, inputs: list[jax.Array]) -> tuple[list[jax.Array], Any]:
  """Returns the outputs of a piece and its pullback: the function from `jax.vjp`, which is a pytree of arrays."""

  def differentiable(chosen: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
    outputs = piece.call(*_replaced(inputs, mask, chosen))
    return _chosen(outputs, live), outputs

  if not any(live):
    return piece.call(*inputs), None
  _, pull_back, outputs = jax.vjp(differentiable, _chosen(inputs, mask), has_aux=True)
  return outputs, pull_back


def _backward(keeps: Mask, pull_back: Callable[..., Any], cotangents: list[jax.Array]) -> list[jax.Array]:
  """Returns the cotangents of a piece's differentiated inputs, those that `keeps` selects."""
  return _chosen(pull_back(cotangents)[0], keeps)


def _moved(
  function: Callable[..., list[jax.Array]], mask: Mask, arguments: list[jax.Array], tangents: list[jax.Array]
) -> tuple[list[jax.Array], list[jax.Array | None]]:
  """Returns a function's results and their tangents, None for a result without one. `tangents` belong to the arguments in `mask`."""
  if not tangents:
    made = function(*arguments)
    return made, [None] * len(made)
  made, changed = jax.jvp(lambda *moving: function(*_replaced(arguments, mask, moving)), _chosen(arguments, mask), tangents)
  return made, [None if tangent.dtype == jax.dtypes.float0 else tangent for tangent in changed]
