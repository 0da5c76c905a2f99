"""Compiled functions, called like `jax.jit(function)`.

On a CPU a function whose marked parts repeat is cut at the marks, and the host calls small programs in waves (`compiler.chain`). In one
program XLA would compile every repetition anew, which is most of the time that a search waits. On other devices, and where the version of
JAX does not let a function be cut, the function is compiled by `jax.jit`.
"""

import functools
import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from dnas.compiler import derivatives, marks, pieces
from dnas.compiler.chain import Chain
from dnas.compiler.programs import named
from dnas.core import devices
from dnas.core.errors import first_line

TESTED = "0.10.2 to 0.12.0.1"
LEAST_REPETITION = 2.0
"""Least average number of occurrences of a marked part in a function that is cut. Below it one program compiles sooner and runs faster."""


_SETTINGS = "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"


def kind_of(*args: Any) -> tuple[Any, ...]:
  """Returns the values on which a trace depends: the tree structure of the arguments, their types, and settings of JAX."""
  leaves, structure = jax.tree.flatten(args)
  return structure, tuple(map(jax.typeof, leaves)), tuple(getattr(jax.config, name) for name in _SETTINGS)


class Compiled:
  """A compiled function of trees of arrays.

  Attributes:
    whole: the function from `jax.jit`.
    chains: kind of arguments to (chain, tree structure of the results), or to None where the function was left whole.
    wider: returns the `Compiled` function for arguments that all have one more leading axis.
  """

  def __init__(
    self, name: str, function: Callable[..., Any], build: Callable[..., tuple[Chain, Any] | None], wider: Callable[[], "Compiled"]
  ):
    """Compiles nothing yet. `build(waits, arguments)` returns (chain, tree structure of the results), or None; `name` tells people."""
    self.whole, self._build, self.wider = jax.jit(named(name, function)), build, functools.cache(wider)
    self.chains: dict[Any, tuple[Chain, Any] | None] = {}
    self._traced = jax.custom_batching.custom_vmap(lambda *args: self.whole(*args))
    self._traced.def_vmap(self._vectorized)

  def __call__(self, *args: Any) -> Any:
    """Calls the function. It may also be called inside a function that is being traced or vectorized."""
    leaves = jax.tree.leaves(args)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._traced(*args)
    if _setting("jax_disable_jit"):
      return self.whole(*args)
    devices = set().union(*(leaf.sharding.device_set for leaf in leaves if isinstance(leaf, jax.Array)))
    devices |= {_setting("jax_default_device")} - {None}
    looks = _setting("jax_debug_nans") or _setting("jax_debug_infs")  # `jax.jit` looks for NaN and infinity, a compiled program does not
    kind = *kind_of(*args), devices <= set(jax.local_devices()[:1]) and not looks
    if kind not in self.chains:
      return self._first(kind, args, leaves, waits=len(devices) > 1)
    found = self.chains[kind]
    return self.whole(*args) if found is None else jax.tree.unflatten(found[1], found[0](leaves, kind[-1]))

  def _first(self, kind: Any, args: tuple[Any, ...], leaves: list[Any], waits: bool) -> Any:
    found, problem, collects = None, None, gc.isenabled()
    gc.disable()  # tracing makes many objects and little garbage; the collector took a quarter of its time
    try:
      found = self._build(waits, args)
      results = found and jax.tree.unflatten(found[1], found[0](leaves, kind[-1], first=kind[-1]))
    except (FloatingPointError, jax.errors.JaxRuntimeError):  # an error of the computation, not of the cut
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


def _setting(name: str) -> Any:
  """Returns a setting of JAX. JAX 0.10 declares them to no type checker."""
  return getattr(jax.config, name)


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

  return Compiled(getattr(function, "__name__", "function"), function, build, lambda: compiled(jax.vmap(function)))


class Loss:
  """A loss whose derivatives are compiled; they share their forward programs."""

  def __init__(self, loss: Callable[..., Any], argnums: Sequence[int], axes: int = 0):
    """Compiles nothing yet.

    Args:
      loss: returns a scalar and a tree of auxiliary results.
      argnums: numbers of all arguments in which the loss will be differentiated; these are trees of floats.
      axes: number of leading axes of all arguments and results; the losses along them are independent.
    """
    self._loss, self._argnums, self._axes, self._cuts = loss, tuple(argnums), axes, {}
    self._wider = functools.cache(lambda: Loss(loss, argnums, axes + 1))

  def gradient(self, argnums: Sequence[int]) -> Compiled:
    """Returns the function (arguments) -> ((loss, auxiliary results), gradients in the arguments `argnums`)."""
    whole = self._each(jax.value_and_grad(self._loss, tuple(argnums), has_aux=True))
    name = "gradient" if tuple(argnums) == self._argnums else f"gradient_in_{'_'.join(map(str, argnums))}"
    return Compiled(name, whole, functools.partial(self._chain, argnums, None), lambda: self._wider().gradient(argnums))

  def hessian_product(self, along: int) -> Compiled:
    """Returns the function (arguments, direction in argument `along`) -> directional derivative of the gradients in all `argnums`."""

    def whole(*args: Any) -> tuple[Any, ...]:
      def gradients(moving: Any) -> tuple[Any, ...]:
        return jax.grad(self._loss, self._argnums, has_aux=True)(*args[:along], moving, *args[along + 1 : -1])[0]

      return jax.jvp(gradients, (args[along],), (args[-1],))[1]

    build = functools.partial(self._chain, self._argnums, along)
    return Compiled("hessian_product", self._each(whole), build, lambda: self._wider().hessian_product(along))

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
  """Returns a function that mostly calls a `Compiled` one, ready to run: as it is on a CPU, as one `jax.jit` program elsewhere."""
  return function if devices.backend() == "cpu" else jax.jit(named("step", function))


def _cut(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[pieces.Traced, list[pieces.Piece]] | None:
  """Returns the function, traced on the flat list of its arrays, and its pieces; None if it is not to be cut."""
  if devices.backend() != "cpu":
    return None
  leaves, structure = jax.tree.flatten(args)
  traced = pieces.trace(marks.to_cut(lambda *leaves: function(*jax.tree.unflatten(structure, leaves))), leaves)
  cut = pieces.cut(traced)
  marked = [piece.key for piece in cut if marks.is_marked(piece.name)]
  return (traced, cut) if marked and len(marked) >= LEAST_REPETITION * len(set(marked)) else None
