"""Costs of one inference, counted in its jaxpr: multiply-adds of convolutions and products, and the memory of activations.

A multiply-add counts one, also where it reads padding, as in the figures of papers. Additions, normalizations, activation functions and
pooling count nothing. The costs follow from the shapes alone, so they depend neither on the device nor on the compiler. `counts` has the
whole work of a training step.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from dnas.compiler.counts import ARITHMETIC, PRODUCTS, inner_jaxprs, of_product

Equation = Any
Jaxpr = Any
Buffer = int

_RULES: dict[str, Callable[..., float]] = {}
_SCOPE = "scope/"
_VIEWS = frozenset("reshape squeeze expand_dims broadcast_in_dim slice transpose rev split stop_gradient copy name".split())
_CALLS = "jit", "pjit", "closed_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"
_LOOPS = "scan", "while", "cond"
_IN_PLACE = ARITHMETIC | {"convert_element_type"}


def counted_as(name: str, multiply_adds: Callable[..., float]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
  """Decorates a function whose multiply-adds are no products in its jaxpr, such as a convolution by sums of shifted windows.

  Args:
    name: the name of the function in a jaxpr; `jax.jit`, which must wrap it, takes it from there.
    multiply_adds: maps the shapes of the arrays among the arguments, and then that of the result, to the number of multiply-adds.
  """

  def named(function: Callable[..., Any]) -> Callable[..., Any]:
    _RULES[name] = multiply_adds
    renamed = functools.wraps(function)(lambda *args: function(*args))
    renamed.__name__ = name
    return renamed

  return named


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of a traced function.

  Attributes:
    name: the name of the part; empty for the whole function.
    shape: the shape of the largest result; () without results.
    results: number of arrays that it returns.
    multiply_adds: the multiply-adds of one call, with those of the parts inside.
    parts: the parts inside, in the order of their calls.
  """

  name: str
  shape: tuple[int, ...]
  results: int
  multiply_adds: int
  parts: tuple["Part", ...]


def part(name: str, function: Callable[[], Any]) -> Any:
  """Calls a function while another one is traced, so that `parts` shows it as a part of this name.

  A function that returns other things than arrays, or changes a state, cannot be a part. It is called like any other function.
  """

  def called() -> Any:
    return function()

  called.__name__ = _SCOPE + name
  try:
    return jax.jit(called)()
  except Exception:  # an error of the function itself comes again
    return function()


def parts(jaxpr: Jaxpr, name: str = "") -> Part:
  """Returns a traced function (of `jax.make_jaxpr`) with its parts.

  A loop of unknown length counts as one turn, and a condition as its most expensive branch.
  """
  jaxpr, found = getattr(jaxpr, "jaxpr", jaxpr), list[Part]()
  total = sum(_of_equation(eqn, found) for eqn in jaxpr.eqns)
  shape = max((tuple(atom.aval.shape) for atom in jaxpr.outvars), key=math.prod, default=())
  return Part(name, shape, len(jaxpr.outvars), round(total), tuple(found))


def _of_equation(eqn: Equation, found: list[Part]) -> float:
  """Returns the multiply-adds of an equation, and appends its parts to `found`."""
  name, params = eqn.primitive.name, eqn.params
  if name in PRODUCTS:
    return of_product(eqn)
  label = str(params.get("name", ""))
  if label in _RULES:
    return float(_RULES[label](*(atom.aval.shape for atom in [*eqn.invars, *eqn.outvars])))
  inside = [parts(inner, label.removeprefix(_SCOPE)) for inner in inner_jaxprs(params)]
  found += inside if label.startswith(_SCOPE) else [one for whole in inside for one in whole.parts]
  each = [params.get("length", 1) * one.multiply_adds for one in inside]
  return max(each) if name == "cond" else sum(each)


def activation_bytes(jaxpr: Jaxpr, activations: Sequence[int]) -> int:
  """Returns the most memory that the activations of a traced function need at once.

  The equations run one after the other, and an array is kept until its last use. Reshapes, slices and broadcasts are views, which need no
  memory. An elementwise function writes into an argument of the same size that is not used later. A loop adds what one turn needs.

  Args:
    jaxpr: the traced function.
    activations: positions of the arguments that are activations, such as the images. The others are weights, which are not counted.
  """
  return _Memory(getattr(jaxpr, "jaxpr", jaxpr), activations).most()


@dataclasses.dataclass(frozen=True)
class _Step:
  """An equation that makes arrays.

  Attributes:
    reads: the buffers that it reads.
    made: the buffers that it makes.
    in_place: whether it may write its result into a buffer that it reads.
    inside: the bytes of a turn, if it is a loop.
  """

  reads: list[Buffer]
  made: list[Buffer]
  in_place: bool
  inside: int


class _Memory:
  """The buffers of a jaxpr, numbered in the order in which they are made; variables that are views share one."""

  def __init__(self, jaxpr: Jaxpr, activations: Sequence[int]):
    self._bytes: list[int] = []
    self._steps: list[_Step] = []
    given = [jaxpr.invars[place] for place in activations]
    buffers = {var: self._new(var) for var in given}
    self._given = list(buffers.values())
    self._read(jaxpr, buffers)
    self._returned = {buffers[atom] for atom in jaxpr.outvars if _is_variable(atom) and atom in buffers}

  def most(self) -> int:
    """Returns the most bytes at any time."""
    last = {buffer: number for number, step in enumerate(self._steps) for buffer in [*step.made, *step.reads]}
    last |= dict.fromkeys(self._returned, len(self._steps))
    live = highest = sum(self._bytes[buffer] for buffer in self._given)
    for number, step in enumerate(self._steps):
      ended = {buffer for buffer in [*step.reads, *step.made] if last[buffer] == number}
      fresh = sum(self._bytes[buffer] for buffer in step.made)
      free = {self._bytes[buffer] for buffer in step.reads if buffer in ended}
      reused = fresh if step.in_place and fresh in free else 0
      highest = max(highest, live + fresh - reused + step.inside)
      live += fresh - sum(self._bytes[buffer] for buffer in ended)
    return highest

  def _new(self, var: Any) -> Buffer:
    self._bytes.append(math.prod(var.aval.shape) * getattr(var.aval.dtype, "itemsize", 4))
    return len(self._bytes) - 1

  def _read(self, jaxpr: Jaxpr, buffers: dict[Any, Buffer]) -> None:
    """Appends the steps of a jaxpr, and adds the buffers of its variables. Variables without a buffer are weights, or views of them."""
    for eqn in jaxpr.eqns:
      name, counted = eqn.primitive.name, str(eqn.params.get("name", "")) in _RULES
      inner = [] if counted else list(inner_jaxprs(eqn.params))
      reads = [buffers[atom] for atom in eqn.invars if _is_variable(atom) and atom in buffers]
      if len(inner) == 1 and name in _CALLS:
        buffers |= self._of_call(eqn, inner[0], buffers)
      elif name in _VIEWS:
        buffers |= dict.fromkeys(eqn.outvars, reads[0]) if reads else {}
      else:
        made = {var: self._new(var) for var in eqn.outvars}
        buffers |= made
        inside = max((_Memory(one, ()).most() for one in inner), default=0) if name in _LOOPS else 0
        self._steps.append(_Step(reads, list(made.values()), name in _IN_PLACE, inside))

  def _of_call(self, eqn: Equation, inner: Jaxpr, buffers: dict[Any, Buffer]) -> dict[Any, Buffer]:
    """Appends the steps of a called function, and returns the buffers of its results."""
    pairs = zip(inner.invars, eqn.invars[len(eqn.invars) - len(inner.invars) :], strict=True)
    within = {var: buffers[atom] for var, atom in pairs if _is_variable(atom) and atom in buffers}
    self._read(inner, within)
    results = zip(eqn.outvars, inner.outvars, strict=True)
    return {var: within[atom] for var, atom in results if _is_variable(atom) and atom in within}


def _is_variable(atom: Any) -> bool:
  return not hasattr(atom, "val")
