"""Profiles some steps of a run, for TensorBoard's profiler and for Perfetto."""

import pathlib
from types import TracebackType
from typing import Self

import jax

from dnas.run.loop import OnStep


class Profiler:
  """Traces the steps `first` to `last` of a run, counted from 1. It is a context manager, and its `step` is the loop's `on_step`.

  It writes the trace to `folder`: plugins/profile/... for TensorBoard, and perfetto_trace.json.gz for ui.perfetto.dev.
  """

  def __init__(self, folder: pathlib.Path, first: int, last: int, on_step: OnStep):
    """Makes a profiler that is not yet tracing. `on_step` is called at every step, before the profiler acts."""
    self._folder, self._first, self._last, self._on_step, self._running = folder, first, last, on_step, False

  def step(self, step: int, loss: float) -> None:
    """See `loop.OnStep`. A step is complete once its loss was read."""
    self._on_step(step, loss)
    if not self._running and step == self._first - 1:
      jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
      self._running = True
    if self._running and step >= self._last:
      self._stop()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    if self._running:
      self._stop()

  def _stop(self) -> None:
    jax.profiler.stop_trace()
    self._running = False
