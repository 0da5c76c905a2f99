"""Estimates of the memory that a run needs, from its shapes. A run that cannot fit is refused before anything is built."""

# JAX's own annotations are incomplete.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import contextlib
import dataclasses
import os
import pathlib

import jax

from dnas.core.errors import InputError

_GB = 10**9
_COPIES = 3
"""Copies of the weights: the weights, their gradient, and the momentum or the mean of an optimizer."""


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A lower estimate of a run's memory, in bytes. It detects runs that are a hundred times too large; it is not exact.

  Attributes:
    weights: size of the network's weights.
    activations: size of the activations of a gradient, or of an inference if that is more.
    data: size of the data that stays on the device for the whole run.
  """

  weights: int
  activations: int
  data: int = 0

  @property
  def total(self) -> int:
    """The sum of all parts, with the gradient and the state of the optimizer."""
    return _COPIES * self.weights + self.activations + self.data

  def times(self, count: int) -> "Estimate":
    """Returns the estimate of `count` networks that run at once on the same data."""
    return Estimate(count * self.weights, count * self.activations, self.data)


def available() -> int:
  """Returns the memory of a device in bytes: an accelerator's own memory; for a CPU that of the machine, or a lower container limit."""
  with contextlib.suppress(Exception):  # not every device reports it
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit and jax.devices()[0].platform != "cpu":
      return int(limit)
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  for name in ("memory.max", "memory/memory.limit_in_bytes"):
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit
      total = min(total, int((pathlib.Path("/sys/fs/cgroup") / name).read_text()))
  return total


def check_fits(estimate: Estimate, hint: str, force: bool) -> None:
  """Raises InputError, with the estimated and the available memory, if a run cannot fit and is not forced.

  Args:
    estimate: the estimate of the run.
    hint: which flags to lower.
    force: whether to try the run in any case.
  """
  there = available()
  if estimate.total > there and not force:
    parts = f"weights {shown_bytes(estimate.weights)}, activations {shown_bytes(estimate.activations)}, data {shown_bytes(estimate.data)}"
    what = f"by its shapes the run needs {shown_bytes(estimate.total)} of memory or more ({parts}), and there are {shown_bytes(there)}"
    raise InputError(f"{what}; {hint}, or give --force to try it.")


def shown_bytes(count: int) -> str:
  """Returns a number of bytes as readable text: '1.5 GB'."""
  return f"{count // _GB:,} GB" if count >= 100 * _GB else f"{count / _GB:.2g} GB"
