"""Compilation of one function as several programs, of which equal ones are one.

A network repeats itself: its cells are alike, and so are the gradients of its cells. A step evaluates its network several times. XLA
compiles every repetition anew where it stands in one program, and that is most of what a search waits for. Two kinds of functions are
therefore marked: a `segment` is a part of a network, an `evaluation` is all of it. `Segmented` compiles what is marked in a function, or
what became of it by differentiation and vectorization, as programs of their own, and what lies in between in pieces. The host then calls
one program after the other, at some microseconds each, and waits for none of them.

To `jax.jit`, what is marked is a function like any other.
"""

import concurrent.futures
import contextlib
import functools
import gc
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

Tree = Any

_SEGMENT, _EVALUATION = "segment_", "evaluation_"


def segment(function: Callable[..., Any], static_argnums: Sequence[int] = ()) -> Callable[..., Any]:
  """Marks a part of a network. Call it with arrays, and with hashable values at `static_argnums`."""
  return jax.jit(_named(_SEGMENT, function), static_argnums=static_argnums)


def evaluation(function: Callable[..., Any]) -> Callable[..., Any]:
  """Marks an evaluation of a whole network, by a name that any way of compilation keeps."""
  return _named(_EVALUATION, function)


def _named(mark: str, function: Callable[..., Any]) -> Callable[..., Any]:
  @functools.wraps(function)
  def marked(*args: Any) -> Any:
    return function(*args)

  marked.__name__ = mark + function.__name__
  return marked


class Segmented:
  """A function compiled as several programs; call it as you would call `jax.jit(function)`."""

  def __init__(self, function: Callable[..., Any], compiler_options: Mapping[str, Any] | None = None, fine: bool = True):
    """Compiles nothing yet.

    Args:
      function: the function, of trees of arrays.
      compiler_options: for all programs.
      fine: whether segments are programs; otherwise evaluations are.
    """
    self._function, self._traced, self._options, self._fine = function, jax.jit(function), dict(compiler_options or {}), fine
    self._sequences: dict[Any, tuple[_Sequence, Any]] = {}

  def __call__(self, *args: Any) -> Any:
    """Calls the programs one after the other. Within a function that is being traced it is a function like any other."""
    leaves, structure = jax.tree.flatten(args)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._traced(*args)
    sequence, out = self._sequence(leaves, structure)
    return jax.tree.unflatten(out, sequence(leaves))

  def costs(self, *args: Any) -> dict[str, float]:
    """Returns floating-point operations ('flops') and bytes ('bytes accessed') of a call, by XLA's count, and its memory.

    'memory' is the largest sum, at any time of a call, of its arguments, of what it still needs or returns, and of what the program that
    runs then has for itself, in bytes.
    """
    return self._sequence(*jax.tree.flatten(args))[0].costs()

  def _cache_size(self) -> int:
    """Returns how many kinds of arguments it was called with, as a function of `jax.jit` does."""
    return len(self._sequences)

  def _sequence(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]:
    key = structure, tuple(map(jax.typeof, leaves))
    if key not in self._sequences:
      with _no_garbage_collection():
        self._sequences[key] = self._compile(leaves, structure)
    return self._sequences[key]

  def _compile(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]:
    closed, out = jax.make_jaxpr(self._function, return_shape=True)(*jax.tree.unflatten(structure, leaves))
    alone = all(len(leaf.sharding.device_set) == 1 for leaf in leaves if isinstance(leaf, jax.Array))
    # Devices of a CPU are threads: programs that wait for each other can take all of them, so there they run one after the other.
    waits = not alone and jax.default_backend() == "cpu"
    sequence = _Sequence(_inlined(closed) if self._fine else closed, self._options, _SEGMENT if self._fine else _EVALUATION, waits)
    if alone:
      sequence.compile()
    return sequence, jax.tree.structure(out)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
  """Within it no cycles are looked for: tracing makes so many objects, and so little garbage, that a quarter of its time went there."""
  if not gc.isenabled():
    yield
    return
  gc.disable()
  try:
    yield
  finally:
    gc.enable()


class _Call(NamedTuple):
  """One call of a program: which values it takes, which it makes, and which nobody needs after it."""

  program: Any
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  dead: tuple[int, ...]


class _Sequence:
  """The programs of a traced function in the order in which they are called; values are numbered."""

  def __init__(self, closed: jex.ClosedJaxpr, compiler_options: Mapping[str, Any], mark: str, waits: bool):
    jaxpr, canonical, self._waits = closed.jaxpr, _Canonical(), waits
    parts = list(_parts(jaxpr, mark))
    last = {v: index for index, part in enumerate(parts) for eqn in part for v in _variables(eqn.invars)}
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(parts))
    numbers = {v: number for number, v in enumerate([*jaxpr.constvars, *jaxpr.invars])}
    self._consts, self._num_given = list(closed.consts), len(numbers)
    self._calls: list[_Call] = []
    for index, part in enumerate(parts):
      made = [v for eqn in part for v in eqn.outvars]
      inside = set(made)
      inputs = list(dict.fromkeys(v for eqn in part for v in _variables(eqn.invars) if v not in inside))
      outputs = [v for v in made if last.get(v, -1) > index]  # the program does not compute what nobody needs
      program = _program(_body(jaxpr, inputs, outputs, part), compiler_options, canonical)
      numbers |= {v: len(numbers) + place for place, v in enumerate(outputs)}
      dead = [v for v in inputs if last[v] == index]
      self._calls.append(_Call(program, *(tuple(map(numbers.get, variables)) for variables in (inputs, outputs, dead))))
    self._results = [_constant(v) if isinstance(v, jex.Literal) else numbers[v] for v in jaxpr.outvars]
    self._avals = [v.aval for v in numbers]

  def __call__(self, leaves: list[Any]) -> list[Any]:
    values = [*self._consts, *leaves]
    values += [None] * (len(self._avals) - len(values))
    for program, inputs, outputs, dead in self._calls:
      made = program(*[values[number] for number in inputs])
      if self._waits:
        jax.block_until_ready(made)
      for number, value in zip(outputs, made, strict=True):
        values[number] = value
      for number in dead:
        values[number] = None
    return [values[result] if isinstance(result, int) else result for result in self._results]

  def compile(self) -> dict[Any, Any]:
    """Compiles the programs, several at a time, and returns what each is compiled to; calls find them so."""
    shapes = {call.program: [_shape(self._avals[number]) for number in call.inputs] for call in self._calls}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      compiled = {program: pool.submit(program.lower(*inputs).compile) for program, inputs in shapes.items()}
    return {program: future.result() for program, future in compiled.items()}

  def costs(self) -> dict[str, float]:
    """See `Segmented.costs`."""
    compiled, total = self.compile(), {"flops": 0.0, "bytes accessed": 0.0}
    sizes = [int(np.prod(aval.shape, dtype=np.int64)) * aval.dtype.itemsize for aval in self._avals]
    live = peak = sum(sizes[: self._num_given])
    for program, _, outputs, dead in self._calls:
      costs, memory = compiled[program].cost_analysis() or {}, compiled[program].memory_analysis()
      total = {name: value + costs.get(name, 0.0) for name, value in total.items()}
      live += sum(sizes[number] for number in outputs)
      peak = max(peak, live + (memory.temp_size_in_bytes if memory else 0))
      live -= sum(sizes[number] for number in dead if number >= self._num_given)
    return total | {"memory": float(peak)}


def _is_marked(eqn: jex.JaxprEqn, mark: str) -> bool:
  return eqn.primitive.name == "jit" and eqn.params["name"].startswith(mark)


def _inlined(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
  """Returns a function whose segments all stand at its top level: calls that hold some are taken apart."""

  def holds(eqn: jex.JaxprEqn) -> bool:
    inner = eqn.params["jaxpr"].jaxpr.eqns if eqn.primitive.name == "jit" and not _is_marked(eqn, _SEGMENT) else []
    return any(_is_marked(one, _SEGMENT) or holds(one) for one in inner)

  def evaluate(closed: jex.ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    values = dict(zip([*closed.jaxpr.constvars, *closed.jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atoms: Sequence[Any]) -> list[Any]:
      return [atom.val if isinstance(atom, jex.Literal) else values[atom] for atom in atoms]

    for eqn in closed.jaxpr.eqns:
      if holds(eqn):
        outputs = evaluate(eqn.params["jaxpr"], read(eqn.invars))
      else:
        inputs = list(dict.fromkeys(_variables(eqn.invars)))
        outputs = jex.jaxpr_as_fun(jex.ClosedJaxpr(_body(closed.jaxpr, inputs, eqn.outvars, [eqn]), []))(*read(inputs))
      values |= zip(eqn.outvars, outputs, strict=True)
    return read(closed.jaxpr.outvars)

  if not any(map(holds, closed.jaxpr.eqns)):
    return closed
  return jax.make_jaxpr(lambda *args: evaluate(closed, args))(*(_shape(v.aval) for v in closed.jaxpr.invars))


def _parts(jaxpr: jex.Jaxpr, mark: str) -> Iterator[list[jex.JaxprEqn]]:
  """Yields the equations in parts: every marked one by itself, and before it what it needs of the others, as late as possible."""
  pending: list[jex.JaxprEqn] = []

  def take(atoms: Sequence[Any]) -> list[jex.JaxprEqn]:
    needed, taken = set(_variables(atoms)), []
    for eqn in reversed(pending):
      if not needed.isdisjoint(eqn.outvars):
        taken.append(eqn)
        needed.update(_variables(eqn.invars))
    chosen = set(map(id, taken))
    pending[:] = [eqn for eqn in pending if id(eqn) not in chosen]
    return taken[::-1]

  for eqn in jaxpr.eqns:
    if not _is_marked(eqn, mark):
      pending.append(eqn)
      continue
    if before := take(eqn.invars):
      yield before
    yield [eqn]
  if after := take(jaxpr.outvars):
    yield after


def _body(jaxpr: jex.Jaxpr, inputs: Sequence[Any], outputs: Sequence[Any], eqns: Sequence[jex.JaxprEqn]) -> jex.Jaxpr:
  """Returns some equations of a function as a function."""
  return jex.Jaxpr([], inputs, outputs, eqns, debug_info=jaxpr.debug_info.with_unknown_names())


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _variables(atoms: Sequence[Any]) -> list[Any]:
  return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


def _constant(literal: jex.Literal) -> jax.Array:
  return jnp.asarray(literal.val, literal.aval.dtype)


_PROGRAMS: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
"""Programs by what they compute, as long as something that calls them lives."""


def forget() -> None:
  """Lets functions that are compiled from now on share no program with those of before."""
  _PROGRAMS.clear()


def _program(body: jex.Jaxpr, compiler_options: Mapping[str, Any], canonical: "_Canonical") -> Any:
  """Returns the compiled function that computes `body`, a new one only if there is none."""
  key = canonical.of(body), tuple(compiler_options.items()), jax.default_backend()
  program = _PROGRAMS.get(key)
  if program is None:

    def program(*args: Any) -> list[Any]:
      return jex.jaxpr_as_fun(jex.ClosedJaxpr(body, []))(*args)

    program.__name__ = body.eqns[0].params["name"] if len(body.eqns) == 1 and "name" in body.eqns[0].params else "between"
    program = _PROGRAMS[key] = jax.jit(program, compiler_options=compiler_options or None)
  return program


class _Canonical:
  """Keys of traced functions, equal only where the functions compute the same."""

  def __init__(self):
    self._known: dict[int, tuple[Any, _Key]] = {}  # by identity, with the function, which so is kept

  def of(self, function: jex.Jaxpr | jex.ClosedJaxpr) -> "_Key":
    """Returns the key of a function; it is hashable."""
    if id(function) not in self._known:
      self._known[id(function)] = function, _Key(self._of(function))
    return self._known[id(function)][1]

  def _of(self, function: jex.Jaxpr | jex.ClosedJaxpr) -> Any:
    if isinstance(function, jex.ClosedJaxpr):
      return self.of(function.jaxpr), *map(self._value, function.consts)
    numbers: dict[Any, int] = {}

    def name(atom: Any) -> Any:
      return atom.aval, self._value(atom.val) if isinstance(atom, jex.Literal) else numbers.setdefault(atom, len(numbers))

    inputs = *map(name, function.constvars), None, *map(name, function.invars)
    equations = tuple(
      (eqn.primitive, tuple(map(name, eqn.invars)), tuple(map(name, eqn.outvars)), self._value(eqn.params)) for eqn in function.eqns
    )
    return inputs, equations, tuple(map(name, function.outvars))

  def _value(self, value: Any) -> Any:
    if isinstance(value, jex.Jaxpr | jex.ClosedJaxpr):
      return self.of(value)
    if isinstance(value, dict):
      return tuple((name, self._value(part)) for name, part in sorted(value.items()))
    if isinstance(value, tuple | list):
      return type(value), *map(self._value, value)
    if isinstance(value, np.ndarray | np.generic | float):
      return type(value), np.asarray(value).dtype, np.shape(value), np.asarray(value).tobytes()
    try:
      hash(value)
    except TypeError:
      return _Itself(value)
    return type(value), value


class _Key:
  """A key whose hash is computed once, since keys are nested."""

  def __init__(self, value: Any):
    self._value, self._hash = value, hash(value)

  def __hash__(self) -> int:
    return self._hash

  def __eq__(self, other: object) -> bool:
    return self is other or (isinstance(other, _Key) and self._hash == other._hash and self._value == other._value)


class _Itself:
  """Equal to nothing but another of the same object, such as an array."""

  def __init__(self, value: Any):
    self._value = value

  def __hash__(self) -> int:
    return id(self._value)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, _Itself) and self._value is other._value
