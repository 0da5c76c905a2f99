"""Functions that are compiled in the way that suits them: call them as you would call `jax.jit(function)`.

On a CPU a function whose marked parts repeat is cut at the marks, and the host calls one small program after the other: in one program XLA
would compile every repetition anew, and that is most of what a search waits for. Elsewhere it is `jax.jit`, and so it is where a version of
JAX does not let itself be cut.
"""

import contextvars
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dnas.compiler import marks, pieces
from dnas.compiler.derivatives import Chain, Wanted
from dnas.compiler.programs import Sequenced, no_garbage_collection

Tree = Any

TESTED = "0.10.2 to 0.12.0.1"
LEAST_REPETITION = 2.0
"""A function is cut where its marked parts occur so often on average. Where they do not, one program compiles sooner, and runs faster."""

_EVALUATION = "evaluation_"
_evaluations: contextvars.ContextVar[dict[str, "Compiled"] | None] = contextvars.ContextVar("evaluations", default=None)


class Compiled:
  """A compiled function."""

  def __init__(
    self,
    function: Callable[..., Any],
    build: Callable[..., tuple[Sequenced, Any] | None],
    shapes: Callable[..., Any] | None = None,
    vectorized: Callable[[], "Compiled"] | None = None,
  ):
    """Compiles nothing yet.

    Args:
      function: the function, of trees of arrays.
      build: (whether programs take turns, arguments) to the sequence of programs and the tree of the results; None to cut nothing.
      shapes: arguments to a tree of the types of the results; if not given, it is found out by tracing.
      vectorized: returns the same of arguments that all have one more axis in front.
    """
    self._plain, self._build, self._shapes = jax.jit(function), build, shapes or functools.partial(jax.eval_shape, function)
    self._vectorized = functools.cache(vectorized or (lambda: compiled(jax.vmap(function))))
    self._made: dict[Any, tuple[Sequenced, Any] | None] = {}
    self._called: set[Any] = set()

  def __call__(self, *args: Any) -> Any:
    """Calls the function. Within a function that is being traced it is one like any other."""
    leaves, structure = jax.tree.flatten(args)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._plain(*args) if _evaluations.get() is None else self._as_evaluation(args)
    kind, prepares = _kind(leaves, structure), _prepares(leaves)
    if (kind, prepares) not in self._called:
      return self._first(kind, prepares, args, leaves)
    made = self._made[kind]
    return self._plain(*args) if made is None else jax.tree.unflatten(made[1], made[0](leaves, prepares))

  def costs(self, *args: Any) -> dict[str, float]:
    """Returns floating-point operations ('flops') and bytes ('bytes accessed') of a call, by XLA's count, and its memory.

    'memory' is the largest sum, at any time of a call, of its arguments, of what it still needs or returns, and of what the program that
    runs then has for itself, in bytes.
    """
    leaves, structure = jax.tree.flatten(args)
    made = self._sequence(_kind(leaves, structure), args, leaves)
    if made is not None:
      return made[0].costs()
    program = self._plain.lower(*args).compile()
    counted, memory = program.cost_analysis() or {}, program.memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes if memory else float("nan")
    return {name: counted.get(name, float("nan")) for name in ("flops", "bytes accessed")} | {"memory": peak}

  def num_kinds(self) -> int:
    """Returns with how many kinds of arguments it was called: so often was it compiled."""
    return len(self._called)

  def _sequence(self, kind: Any, args: tuple[Any, ...], leaves: list[Any]) -> tuple[Sequenced, Any] | None:
    if kind not in self._made:
      # Devices of a CPU are threads: programs that wait for each other can take all of them, so there they run one after the other.
      self._made[kind] = self._build(len(_devices(leaves)) > 1 and jax.default_backend() == "cpu", args)
    return self._made[kind]

  def _first(self, kind: Any, prepares: bool, args: tuple[Any, ...], leaves: list[Any]) -> Any:
    """Calls it with arguments of a new kind. Whatever goes wrong with a function that is cut, `jax.jit` is there."""
    problem = None
    with no_garbage_collection():
      try:
        made = self._sequence(kind, args, leaves)
        if made is not None:
          results = jax.tree.unflatten(made[1], made[0].first(leaves) if prepares else made[0](leaves, prepares))
      except (FloatingPointError, jax.errors.JaxRuntimeError):  # of the computation
        raise
      except Exception as e:
        made, self._made[kind], problem = None, None, e
      if made is None:
        results = self._plain(*args)
    self._called.add((kind, prepares))
    if problem is not None:
      _warn(problem)
    return results

  def _as_evaluation(self, args: tuple[Any, ...]) -> Any:
    """Stands in a function from `composed`, perhaps under `jax.vmap`: a call of a certain name, which only has the right types."""

    def stand_in(compiled: Compiled, args: tuple[Any, ...]) -> Any:
      def evaluation(*_: Any) -> Any:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), compiled._shapes(*args))

      evaluation.__name__ = f"{_EVALUATION}{len(found)}"
      found[evaluation.__name__] = compiled, jax.tree.structure(args)
      return jax.jit(evaluation)(*args)

    def vectorized(size: int, batched: Any, *args: Any) -> tuple[Any, Any]:
      whole = jax.tree.map(lambda x, has_axis: x if has_axis else jnp.broadcast_to(x, (size, *x.shape)), args, tuple(batched))
      results = stand_in(self._vectorized(), whole)
      return results, jax.tree.map(lambda _: True, results)

    found = _evaluations.get()
    function = jax.custom_batching.custom_vmap(lambda *args: stand_in(self, args))
    function.def_vmap(vectorized)
    return function(*args)


def compiled(function: Callable[..., Any]) -> Compiled:
  """Compiles a function of trees of arrays that is not differentiated."""

  def build(waits: bool, args: tuple[Any, ...]) -> tuple[Sequenced, Any] | None:
    found = _cut(function, args)
    return found and (Chain(*found[:2], Wanted()).sequence(waits), jax.tree.structure(found[2]))

  return Compiled(function, build)


class Loss:
  """A loss whose derivatives are compiled; they share what they have in common."""

  def __init__(self, loss: Callable[..., Any], argnums: Sequence[int], batched: bool = False):
    """Compiles nothing yet.

    Args:
      loss: returns a scalar, and a tree of whatever else is wanted.
      argnums: all arguments, trees of floats, in which it is ever differentiated.
      batched: whether arguments and results have one more axis in front, of losses that have nothing to do with each other.
    """
    self._loss, self._argnums, self._batched = loss, tuple(argnums), batched
    self._function = jax.vmap(loss) if batched else loss
    self._cuts: dict[Any, Any] = {}
    self._vectorized = functools.cache(lambda: Loss(loss, argnums, batched=True))

  def gradient(self, argnums: Sequence[int]) -> Compiled:
    """Returns the function (arguments) to ((loss, what else is wanted), gradients in the arguments of these numbers)."""

    def build(waits: bool, args: tuple[Any, ...]) -> tuple[Sequenced, Any] | None:
      return self._chain(waits, args, argnums)

    def shapes(*args: Any) -> Any:
      return jax.eval_shape(self._function, *args), _types([args[number] for number in argnums])

    function = jax.value_and_grad(self._loss, tuple(argnums), has_aux=True)
    return Compiled(self._each(function), build, shapes, lambda: self._vectorized().gradient(argnums))

  def hessian_product(self, along: int) -> Compiled:
    """Returns the function (arguments, direction in one of them) to the derivatives of the gradients in all `argnums`."""

    def function(*args: Any) -> tuple[Tree, ...]:
      *args, direction = args

      def gradients(moving: Tree) -> tuple[Tree, ...]:
        return jax.grad(self._loss, self._argnums, has_aux=True)(*args[:along], moving, *args[along + 1 :])[0]

      return jax.jvp(gradients, (args[along],), (direction,))[1]

    def build(waits: bool, args: tuple[Any, ...]) -> tuple[Sequenced, Any] | None:
      return self._chain(waits, args[:-1], self._argnums, along)

    def shapes(*args: Any) -> Any:
      return _types([args[number] for number in self._argnums])

    return Compiled(self._each(function), build, shapes, lambda: self._vectorized().hessian_product(along))

  def _each(self, function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(function) if self._batched else function

  def _chain(self, waits: bool, args: tuple[Any, ...], argnums: Sequence[int], along: int | None = None) -> tuple[Sequenced, Any] | None:
    kind = _kind(*jax.tree.flatten(args))
    if kind not in self._cuts:
      self._cuts[kind] = _cut(self._function, args)
    if self._cuts[kind] is None:
      return None
    traced, parts, out = self._cuts[kind]
    variables = jax.tree.unflatten(jax.tree.structure(args), traced.inputs)

    def within(argnums: Sequence[int]) -> list[Any]:
      return jax.tree.leaves([variables[number] for number in argnums])

    wanted = Wanted(within(self._argnums), within(argnums), within([] if along is None else [along]))
    gradients = tuple(args[number] for number in argnums)
    return Chain(traced, parts, wanted).sequence(waits), jax.tree.structure(gradients if wanted.along else (out, gradients))


def composed(function: Callable[..., Any]) -> Compiled:
  """Compiles a function whose calls of `Compiled` functions, vectorized or not, stay programs of their own, each compiled once."""

  def build(waits: bool, args: tuple[Any, ...]) -> tuple[Sequenced, Any]:
    leaves, structure = jax.tree.flatten(args)
    token = _evaluations.set({})
    try:
      traced, out = pieces.trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), leaves)
      evaluations = _evaluations.get()
    finally:
      _evaluations.reset(token)
    cut = pieces.cut(traced, evaluations.__contains__)
    return Chain(traced, cut, Wanted(), evaluations).sequence(waits), jax.tree.structure(out)

  return Compiled(function, build)


def assembled(function: Callable[..., Any]) -> Callable[..., Any]:
  """Compiles a function that is little but a call of a `Compiled` one: on a CPU the host puts it together, elsewhere it is one program."""
  return function if jax.default_backend() == "cpu" else jax.jit(function)


def _cut(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[pieces.Traced, list[pieces.Piece], Any] | None:
  """Returns a function as one of flat lists, its pieces, and a tree of what it returns; None if it is not to be cut."""
  if jax.default_backend() != "cpu":
    return None
  leaves, structure = jax.tree.flatten(args)
  with marks.tracing_to_cut():
    traced, out = pieces.trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), leaves)
  parts = pieces.cut(traced, marks.is_marked)
  marked = [piece.key for piece in parts if marks.is_marked(piece.name)]
  return (traced, parts, out) if marked and len(marked) >= LEAST_REPETITION * len(set(marked)) else None


def _types(tree: Tree) -> Tree:
  return tuple(jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree))


def _kind(leaves: list[Any], structure: Any) -> tuple[Any, ...]:
  return structure, tuple(map(_type, leaves))


def _type(leaf: Any) -> Any:
  if isinstance(leaf, jax.ShapeDtypeStruct):
    return jax.core.ShapedArray(leaf.shape, leaf.dtype, leaf.weak_type)
  return jax.typeof(leaf)


def _prepares(leaves: list[Any]) -> bool:
  """Returns whether programs are prepared for such arguments: on the first device, unless JAX looks for NaN, where it takes one apart."""
  return _devices(leaves) <= set(jax.local_devices()[:1]) and not (jax.config.jax_debug_nans or jax.config.jax_debug_infs)


def _devices(leaves: list[Any]) -> set[jax.Device]:
  return set().union(*(sharding.device_set for sharding in {leaf.sharding for leaf in leaves if isinstance(leaf, jax.Array)}))


@functools.cache
def _warn_once(text: str) -> None:
  warnings.warn(text, stacklevel=2)


def _warn(problem: Exception) -> None:
  _warn_once(
    f"JAX {jax.__version__} does not let networks be cut into small programs ({type(problem).__name__}: {problem}), so they compile as a "
    f"whole: slower, with the same results. dnas was tested with JAX {TESTED}."
  )
