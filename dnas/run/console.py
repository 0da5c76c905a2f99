"""Console output of a run: a progress bar with the time left, and one line per epoch.

If the output is not a terminal, or one that cannot move its cursor (TERM=dumb), only the lines are printed, without the bar and without
control characters. With NO_COLOR the bar has no colours. A line is never wrapped here, so a terminal of any width shows it whole.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dnas.core.records import BY_CLASS

_DIAGNOSES = ("skips", "entropy", "normalized_entropy", "discretized", "eigenvalue")
_SHORT = {"accuracy": "acc", "balanced_accuracy": "balanced", "perplexity": "ppl"}


_NOT_COUNTED = "validations, other compilations and slower steps later are not counted"
_FIRST_STEPS, _FEWEST, _SECONDS = 12, 4, 20.0
"""The length of a run is told after so many steps, or after fewer in so many seconds."""


def is_terminal(console: Console) -> bool:
  """Returns whether a console can show a bar. FORCE_COLOR alone makes no terminal."""
  return console.is_interactive and console.is_terminal and console.file.isatty()


class Display:
  """The bar and the lines of one run; a context manager.

  >>> with Display(steps=500, epochs=10, step=position.step, history=position.history) as display:
  ...   for record in run(task, position, on_step=display.step):
  ...     display.epoch(record)
  """

  def __init__(self, steps: int, epochs: int, step: int = 0, history: Sequence[Mapping[str, Any]] = (), console: Console | None = None):
    """Makes a display that shows nothing yet.

    Args:
      steps: number of steps of the whole run.
      epochs: number of epochs of the whole run.
      step: number of steps that a resumed run has already completed.
      history: records of the epochs that a resumed run has already completed.
      console: where to print; None prints to standard output.
    """
    self._epochs, self._seconds = epochs, history[-1]["seconds"] if history else 0.0
    self._console = console or Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    silent = not is_terminal(self._console)
    self._bar = Progress(*columns, console=self._console, disable=silent, transient=True, refresh_per_second=4, speed_estimate_period=300)
    self._task = self._bar.add_task("compiling", total=steps, completed=step)
    self._compiles_since: float | None = None
    self._steps, self._times = steps, list[float]()

  def compiling(self) -> None:
    """Prints that the first step is being compiled. The next call of `step` prints how long that took."""
    self._compiles_since = time.monotonic()
    if self._bar.disable:
      self.say("compiling the first step ...")

  def step(self, step: int, loss: float) -> None:
    """Moves the bar to `step` complete steps. Until the first call the bar is labelled 'compiling'."""
    if self._compiles_since is not None:
      self.say(f"the first step took {time.monotonic() - self._compiles_since:.1f} s")
      self._compiles_since = None
      self._times = [time.monotonic()]
    elif self._times:
      self._tell_length(step)
    self._bar.update(self._task, completed=step, description=f"loss {loss:.4g}")

  def _tell_length(self, step: int) -> None:
    """Says once how long the steps that remain will take, by the median of the first ones."""
    self._times.append(time.monotonic())
    count, seconds = len(self._times), self._times[-1] - self._times[0]
    if count > _FIRST_STEPS or (count > _FEWEST and seconds > _SECONDS):
      each = statistics.median(after - before for before, after in itertools.pairwise(self._times))
      left = self._steps - step
      if left:
        steps = f"{left:,} steps of {shown_seconds(each)}"
        self.say(f"the rest takes about {shown_seconds(left * each)}: {steps}; {_NOT_COUNTED}")
      self._times = []

  def epoch(self, record: Mapping[str, Any]) -> None:
    """Prints the line of an epoch. `record` has the keys 'epoch', 'metrics' and 'seconds', the wall time of the run so far."""
    self.say(epoch_line(record["epoch"], self._epochs, record["metrics"], record["seconds"] - self._seconds))
    self._seconds = record["seconds"]

  def say(self, text: str) -> None:
    """Prints a line above the bar."""
    self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

  def __enter__(self) -> Self:
    self._bar.start()
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    self._bar.stop()


def shown_seconds(seconds: float) -> str:
  """Returns a duration in its largest unit: '240 ms', '12 s', '1.5 min', '20 h', '3.1 days'."""
  for scale, unit, below in ((1e-3, "ms", 1.0), (1.0, "s", 90.0), (60.0, "min", 5400.0), (3600.0, "h", 172_800.0)):
    if seconds < below:
      return f"{seconds / scale:.2g} {unit}" if seconds < 100 * scale else f"{seconds / scale:.0f} {unit}"
  return f"{seconds / 86_400:.3g} days"


def epoch_line(epoch: int, epochs: int, metrics: Mapping[str, float], seconds: float) -> str:
  """Returns the line of an epoch: 'epoch  3/10  train loss 1.234  acc 56.1 %  valid loss 1.301  acc 54.0 %  12.3 s'.

  Args:
    epoch: number of completed epochs.
    epochs: number of epochs of the run.
    metrics: scalars by name. Successive metrics with one prefix, such as 'train/loss' and 'train/accuracy', show the prefix once.
      Accuracies are fractions. A search also gives diagnoses. The line shows two of them: the mean of 'entropy/CELL' over the cells, in
      nats, and 'normalized_entropy' in percent. It leaves out the other diagnoses and the accuracies of single classes.
    seconds: duration of this epoch.
  """
  parts, last = [f"epoch {epoch:{len(str(epochs))}d}/{epochs}"], ""
  for name, value in metrics.items():
    group, _, quantity = name.rpartition("/")
    if (group or name) in _DIAGNOSES or BY_CLASS in group:
      continue
    prefix = f"{group} " if group and group != last else ""
    parts.append(f"{prefix}{_SHORT.get(quantity, quantity)} {_formatted(quantity, value)}")
    last = group
  if "normalized_entropy" in metrics:
    entropy = statistics.fmean(value for name, value in metrics.items() if name.startswith("entropy/"))
    parts.append(f"entropy {entropy:.3f}, {100 * metrics['normalized_entropy']:.1f} % of uniform")
  return "  ".join([*parts, f"{seconds:.1f} s"])


def _formatted(quantity: str, value: float) -> str:
  if quantity in ("accuracy", "balanced_accuracy"):
    return f"{100 * value:.1f} %"
  if quantity == "perplexity":
    return f"{value:.1f}"
  return f"{value:.3f}" if quantity == "loss" and abs(value) < 1e4 else f"{value:.4g}"
