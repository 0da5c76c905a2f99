"""How much memory a run needs, by its shapes, and how much there is: what cannot fit is refused before anything is built."""

import contextlib
import dataclasses
import os
import pathlib

import jax

from dnas.core.errors import InputError

_GB = 10**9
_COPIES = 3
"""Of the weights: themselves, their gradient, and the momentum or the mean of an optimizer."""


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What a run needs at the least, in bytes. It is meant to tell what is a hundred times too large, and not to be exact.

  Attributes:
    weights: of the network.
    activations: what a gradient holds, or an evaluation if that is more.
    data: what lies on the device from beginning to end.
  """

  weights: int
  activations: int
  data: int = 0

  @property
  def total(self) -> int:
    """All together, with the gradient and the state of the optimizer."""
    return _COPIES * self.weights + self.activations + self.data

  def times(self, count: int) -> "Estimate":
    """Returns the estimate of several networks at once, on the same data."""
    return Estimate(count * self.weights, count * self.activations, self.data)


def available() -> int:
  """Returns how much memory a device has, in bytes: an accelerator its own, and a CPU that of the machine or of the container."""
  with contextlib.suppress(Exception):  # not every device tells
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit and jax.devices()[0].platform != "cpu":
      return int(limit)
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  for name in ("memory.max", "memory/memory.limit_in_bytes"):
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit
      total = min(total, int((pathlib.Path("/sys/fs/cgroup") / name).read_text()))
  return total


def check_fits(estimate: Estimate, mend: str, force: bool) -> None:
  """Raises InputError, with the estimate and what there is, for what cannot fit, unless it is to be tried.

  Args:
    estimate: of the run.
    mend: which flags to lower.
    force: whether to try it all the same.
  """
  there = available()
  if estimate.total > there and not force:
    parts = f"weights {shown_bytes(estimate.weights)}, activations {shown_bytes(estimate.activations)}, data {shown_bytes(estimate.data)}"
    what = f"by its shapes the run needs {shown_bytes(estimate.total)} of memory or more ({parts}), and there are {shown_bytes(there)}"
    raise InputError(f"{what}; {mend}, or give --force to try it.")


def shown_bytes(count: int) -> str:
  """Returns a number of bytes for people: '1.5 GB'."""
  return f"{count // _GB:,} GB" if count >= 100 * _GB else f"{count / _GB:.2g} GB"
