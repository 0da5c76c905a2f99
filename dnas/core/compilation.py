"""Compilation of network-sized programs."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from dnas.core.segments import Segmented, Sequenced, choosing

_CPU_OPTIONS = {
  # Measured on jaxlib 0.10.2, two cores, a supernet of 3 cells: compiles 1.7 times and runs 1.5 times as fast without the new emitters.
  "xla_cpu_use_fusion_emitters": False,
  "xla_cpu_enable_concurrency_optimized_scheduler": False,
}


def network_jit(function: Callable[..., Any]) -> Any:
  """Compiles like `jax.jit`, in the way that suits network-sized programs on this back-end.

  On a CPU they are compiled in segments, and with options, which JAX takes at the top level alone.
  """
  return Segmented(function, _options()) if jax.default_backend() == "cpu" else jax.jit(function)


def jit_with_choice(function: Callable[..., Any], choose: Callable[[Any], Any], jit: Callable[..., Any]) -> tuple[Any, Any]:
  """Compiles an evaluation of a network, and another that returns some of its results and computes no more than they take.

  Args:
    function: the evaluation.
    choose: takes the results out of the tree of all; to others None can be put.
    jit: `network_jit`, whose programs the two share as far as they go, or `jax.jit`.
  """
  if _in_segments(jit):
    whole = Segmented(function, _options(), choose=choose)
    return whole, whole.chosen
  return jit(function), jit(choosing(function, choose))


def composed_jit(function: Callable[..., Any], jit: Callable[..., Any]) -> Any:
  """Compiles a function of functions from `jit`, each of which stays a program of its own, however often it is called.

  Args:
    function: the function.
    jit: `network_jit`, or `jax.jit`: how the functions in it are compiled when they are called alone.
  """
  fine = _in_segments(jit)
  return Segmented(function, _options() if fine else None, fine)


def _in_segments(jit: Callable[..., Any]) -> bool:
  return jit is network_jit and jax.default_backend() == "cpu"


def costs(compiled: Any, *args: Any) -> dict[str, float]:
  """Returns what a call of a function from `network_jit` or `jax.jit` costs, see `Sequenced.costs`."""
  if isinstance(compiled, Sequenced):
    return compiled.costs(*args)
  program = compiled.lower(*args).compile()
  counted, memory = program.cost_analysis() or {}, program.memory_analysis()
  peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes if memory else float("nan")
  return {name: counted.get(name, float("nan")) for name in ("flops", "bytes accessed")} | {"memory": peak}


@functools.cache
def _options() -> dict[str, bool] | None:
  """Returns those of the options that this version of XLA knows."""
  return {name: value for name, value in _CPU_OPTIONS.items() if _is_known(name, value)} or None


def _is_known(name: str, value: bool) -> bool:
  try:
    jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError):
    return False
  return True
