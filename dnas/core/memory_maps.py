"""The memory maps of this process. A compiled program takes several, Linux limits their number, and the compiler crashes at the limit."""

import gc
import pathlib

import jax

_LIMIT, _MAPS = pathlib.Path("/proc/sys/vm/max_map_count"), pathlib.Path("/proc/self/maps")


def spare(portion: float = 0.5) -> bool:
  """Drops the compiled programs that JAX keeps, if this process has more than a portion of the memory maps that Linux gives it.

  Call it between trainings: what is still used is compiled again, or read from the folder of compiled programs. Other systems than Linux
  have no such limit.

  Returns:
    Whether the programs were dropped.
  """
  try:
    full = _MAPS.read_bytes().count(b"\n") > portion * int(_LIMIT.read_text())
  except (OSError, ValueError):
    return False
  if full:
    jax.clear_caches()
    gc.collect()
  return full
