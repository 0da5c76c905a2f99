"""Functions that are compiled in the way that suits them: call them as you would call `jax.jit(function)`.

On a CPU a function whose marked parts repeat is cut at the marks, and the host calls one small program after the other: in one program XLA
would compile every repetition anew, and that is most of what a search waits for. Elsewhere it is `jax.jit`, and so it is where a version of
JAX does not let a function be cut.
"""

import functools
import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dnas.compiler import derivatives, marks, pieces
from dnas.compiler.chain import Chain
from dnas.core.errors import first_line

TESTED = "0.10.2 to 0.12.0.1"
LEAST_REPETITION = 2.0
"""A function is cut where its marked parts occur at least this often on average. Else one program compiles sooner, and runs faster."""


_SETTINGS = "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"


def kind_of(*args: Any) -> tuple[Any, ...]:
  """Returns what decides how a function is traced: the tree of arguments, their types, and settings of JAX."""
  leaves, structure = jax.tree.flatten(args)
  return structure, tuple(map(jax.typeof, leaves)), tuple(getattr(jax.config, name) for name in _SETTINGS)


class Compiled:
  """A compiled function of trees of arrays.

  Attributes:
    whole: the function from `jax.jit`.
    chains: for every kind of arguments seen its chain and the tree of its results, or None where it was left whole.
    wider: returns the function for arguments that all have one more axis in front.
  """

  def __init__(self, function: Callable[..., Any], build: Callable[..., tuple[Chain, Any] | None], wider: Callable[[], "Compiled"]):
    """Compiles nothing yet; `build` makes a chain of (whether its programs wait, arguments), or None."""
    self.whole, self._build, self.wider = jax.jit(function), build, functools.cache(wider)
    self.chains: dict[Any, tuple[Chain, Any] | None] = {}
    self._traced = jax.custom_batching.custom_vmap(lambda *args: self.whole(*args))
    self._traced.def_vmap(self._vectorized)

  def __call__(self, *args: Any) -> Any:
    """Calls the function; within one that is being traced, or vectorized, as well."""
    leaves = jax.tree.leaves(args)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._traced(*args)
    if jax.config.jax_disable_jit:
      return self.whole(*args)
    devices = set().union(*(leaf.sharding.device_set for leaf in leaves if isinstance(leaf, jax.Array)))
    devices |= {jax.config.jax_default_device} - {None}
    looks = jax.config.jax_debug_nans or jax.config.jax_debug_infs  # for what `jax.jit` can find, and a compiled program cannot
    kind = *kind_of(*args), devices <= set(jax.local_devices()[:1]) and not looks
    if kind not in self.chains:
      return self._first(kind, args, leaves, waits=len(devices) > 1)
    found = self.chains[kind]
    return self.whole(*args) if found is None else jax.tree.unflatten(found[1], found[0](leaves, kind[-1]))

  def _first(self, kind: Any, args: tuple[Any, ...], leaves: list[Any], waits: bool) -> Any:
    found, problem, collects = None, None, gc.isenabled()
    gc.disable()  # tracing makes so many objects, and so little garbage, that a quarter of its time went into looking for it
    try:
      found = self._build(waits, args)
      results = found and jax.tree.unflatten(found[1], found[0](leaves, kind[-1], first=kind[-1]))
    except (FloatingPointError, jax.errors.JaxRuntimeError):  # of what was computed
      raise
    except Exception as e:
      found, problem = None, e
    finally:
      if collects:
        gc.enable()
    if found is None:
      results = self.whole(*args)
    if problem is not None:
      _warn_once(problem)
    self.chains[kind] = found
    return results

  def _vectorized(self, size: int, has_axis: Any, *args: Any) -> tuple[Any, Any]:
    wide = jax.tree.map(lambda x, has: x if has else jnp.broadcast_to(x, (size, *jnp.shape(x))), args, tuple(has_axis))
    results = self.wider()(*wide)
    return results, jax.tree.map(lambda _: True, results)


_problems: list[str] = []


def _warn_once(problem: Exception) -> None:
  why = f"{type(problem).__name__}: {first_line(problem)}"
  _problems.append(why)
  if len(_problems) == 1:
    words = f"With JAX {jax.__version__} a network could not be cut into small programs ({why}). It is compiled as a whole, which takes "
    warnings.warn(words + f"longer and gives the same results. dnas was tested with JAX {TESTED}.", stacklevel=4)


def compiled(function: Callable[..., Any]) -> Compiled:
  """Compiles a function that is not differentiated."""

  def build(waits: bool, args: tuple[Any, ...]) -> tuple[Chain, Any] | None:
    found = _cut(function, args)
    return found and (derivatives.gradient(*found, (), (), waits), jax.tree.structure(found[0].out))

  return Compiled(function, build, lambda: compiled(jax.vmap(function)))


class Loss:
  """A loss whose derivatives are compiled, and share what they have in common."""

  def __init__(self, loss: Callable[..., Any], argnums: Sequence[int], axes: int = 0):
    """Compiles nothing yet.

    Args:
      loss: returns a scalar, and a tree of whatever else is wanted.
      argnums: numbers of all arguments, trees of floats, in which it will be differentiated.
      axes: how many axes all arguments and results have in front, of losses that have nothing to do with each other.
    """
    self._loss, self._argnums, self._axes, self._cuts = loss, tuple(argnums), axes, {}
    self._wider = functools.cache(lambda: Loss(loss, argnums, axes + 1))

  def gradient(self, argnums: Sequence[int]) -> Compiled:
    """Returns the function (arguments) to ((loss, what else is wanted), gradients in the arguments of these numbers)."""
    whole = self._each(jax.value_and_grad(self._loss, tuple(argnums), has_aux=True))
    return Compiled(whole, functools.partial(self._chain, argnums, None), lambda: self._wider().gradient(argnums))

  def hessian_product(self, along: int) -> Compiled:
    """Returns the function (arguments, direction in one of them) to what the gradients in all `argnums` change by along it."""

    def whole(*args: Any) -> tuple[Any, ...]:
      def gradients(moving: Any) -> tuple[Any, ...]:
        return jax.grad(self._loss, self._argnums, has_aux=True)(*args[:along], moving, *args[along + 1 : -1])[0]

      return jax.jvp(gradients, (args[along],), (args[-1],))[1]

    build = functools.partial(self._chain, self._argnums, along)
    return Compiled(self._each(whole), build, lambda: self._wider().hessian_product(along))

  def _each(self, function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.reduce(lambda inner, _: jax.vmap(inner), range(self._axes), function)

  def _chain(self, argnums: Sequence[int], along: int | None, waits: bool, args: tuple[Any, ...]) -> tuple[Chain, Any] | None:
    args = args if along is None else args[:-1]
    kind = kind_of(*args)
    if kind not in self._cuts:
      self._cuts[kind] = _cut(self._each(self._loss), args)
    if self._cuts[kind] is None:
      return None
    traced, cut = self._cuts[kind]
    numbers = jax.tree.unflatten(kind[0], range(len(traced.inputs)))
    ever, wanted = ([traced.inputs[i] for i in jax.tree.leaves([numbers[n] for n in of])] for of in (self._argnums, argnums))
    if not all(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in [traced.results[0], *ever]) or traced.results[0].aval.ndim != self._axes:
      return None  # `jax.grad` says what is wrong
    if not pieces.variables(traced.results[:1]):
      return None  # a constant
    chain, gradients = derivatives.gradient(traced, cut, ever, wanted, waits), tuple(args[number] for number in argnums)
    if along is None:
      return chain, jax.tree.structure((traced.out, gradients))
    return derivatives.along(chain, jax.tree.leaves(numbers[along]), wanted), jax.tree.structure(gradients)


def assembled(function: Callable[..., Any]) -> Callable[..., Any]:
  """Compiles a function that does little but call a `Compiled` one: on a CPU the host puts it together, elsewhere it is one program."""
  return function if jax.default_backend() == "cpu" else jax.jit(function)


def _cut(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[pieces.Traced, list[pieces.Piece]] | None:
  """Returns a function of flat lists and its pieces; None if it is not to be cut."""
  if jax.default_backend() != "cpu":
    return None
  leaves, structure = jax.tree.flatten(args)
  traced = pieces.trace(marks.to_cut(lambda *leaves: function(*jax.tree.unflatten(structure, leaves))), leaves)
  cut = pieces.cut(traced)
  marked = [piece.key for piece in cut if marks.is_marked(piece.name)]
  return (traced, cut) if marked and len(marked) >= LEAST_REPETITION * len(set(marked)) else None
