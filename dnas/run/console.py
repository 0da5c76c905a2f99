"""What a person sees of a run: a progress bar with the time left, and a line per epoch.

Where the output is no terminal there is no bar and no control character, and the lines stay.
"""

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


class Display:
  """The bar and the lines of one run; a context manager.

  >>> with Display(steps=500, epochs=10, step=position.step, history=position.history) as display:
  ...   for record in run(task, position, on_step=display.step):
  ...     display.epoch(record)
  """

  def __init__(self, steps: int, epochs: int, step: int = 0, history: Sequence[Mapping[str, Any]] = (), console: Console | None = None):
    """Makes a display that does not show anything yet.

    Args:
      steps: how many steps the whole run has.
      epochs: how many epochs it has.
      step: how many steps are complete, in a run that goes on.
      history: the records of the epochs that are complete.
      console: where to print; standard output if not given.
    """
    self._epochs, self._seconds = epochs, history[-1]["seconds"] if history else 0.0
    self._console = console or Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    silent = not (self._console.is_terminal and self._console.file.isatty())
    self._bar = Progress(*columns, console=self._console, disable=silent, transient=True, refresh_per_second=4, speed_estimate_period=300)
    self._task = self._bar.add_task("compiling", total=steps, completed=step)
    self._compiles_since: float | None = None

  def compiling(self) -> None:
    """Says that the first step is compiled; the next call of `step` says how long that took."""
    self._compiles_since = time.monotonic()
    if self._bar.disable:
      self.say("compiling the first step ...")

  def step(self, step: int, loss: float) -> None:
    """Moves the bar to `step` complete steps; `compiling` stands there until the first call."""
    if self._compiles_since is not None:
      self.say(f"the first step took {time.monotonic() - self._compiles_since:.1f} s")
      self._compiles_since = None
    self._bar.update(self._task, completed=step, description=f"loss {loss:.4g}")

  def epoch(self, record: Mapping[str, Any]) -> None:
    """Prints the line of an epoch: a record with 'epoch', 'metrics' and 'seconds', the wall time of the run so far."""
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


def epoch_line(epoch: int, epochs: int, metrics: Mapping[str, float], seconds: float) -> str:
  """Returns, for instance, 'epoch  3/10  train loss 1.234  acc 56.1 %  valid loss 1.301  acc 54.0 %  12.3 s'.

  Args:
    epoch: how many epochs are complete.
    epochs: how many the run has.
    metrics: scalars; of names 'train/loss' and 'train/accuracy', the part before the slash is written once. Accuracies are fractions.
      Of the diagnoses of a search, the entropies of its cells, 'entropy/CELL' (nats), stand there as their mean, and 'normalized_entropy'
      as its share of uniform. The others are left out: the line is long enough, and the warning at the end says what they come to. So
      are the accuracies of single classes.
    seconds: how long this epoch took.
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
