"""What a person reads: the line of an epoch, with a terminal and without."""

import io
import re

import pytest
from rich.console import Console

from dnas.run import console
from dnas.run.console import Display, epoch_line


@pytest.mark.parametrize(
  "metrics, line",
  [
    (
      {"train/loss": 1.234, "train/accuracy": 0.5612, "valid/loss": 1.3005, "valid/accuracy": 0.54},
      "epoch  3/10  train loss 1.234  acc 56.1 %  valid loss 1.300  acc 54.0 %  12.3 s",
    ),
    (
      {"valid/accuracy": 0.95, "valid/balanced_accuracy": 0.5, "valid/accuracy_by_class/T-shirt/top": 1.0, "valid/accuracy_by_class/a": 0},
      "epoch  3/10  valid acc 95.0 %  balanced 50.0 %  12.3 s",
    ),
    ({"train/perplexity": 81.26, "valid/perplexity": 1234.5}, "epoch  3/10  train ppl 81.3  valid ppl 1234.5  12.3 s"),
    ({"loss": 2e9, "lr": 1e-5, "arch/entropy": 0.25}, "epoch  3/10  loss 2e+09  lr 1e-05  arch entropy 0.25  12.3 s"),
    (
      {"valid/loss": 2.0, "skips/normal": 3.0, "entropy/normal": 2.0, "entropy/reduce": 1.0, "normalized_entropy": 0.7214, "eigenvalue": 1},
      "epoch  3/10  valid loss 2.000  entropy 1.500, 72.1 % of uniform  12.3 s",
    ),
    ({"valid/loss": float("nan")}, "epoch  3/10  valid loss nan  12.3 s"),
    ({}, "epoch  3/10  12.3 s"),
  ],
)
def test_the_line_of_an_epoch(metrics, line):
  assert epoch_line(3, 10, metrics, 12.34) == line


class Terminal(io.StringIO):
  def isatty(self):
    return True


def show(file, terminal):
  console = Console(file=file, force_terminal=terminal, width=60)
  before = [{"epoch": 1, "metrics": {}, "seconds": 10.0}]
  with Display(steps=30, epochs=3, step=10, history=before, console=console) as display:
    display._bar.refresh()
    for step in range(11, 21):
      display.step(step, 1.5)
      display._bar.refresh()
    display.epoch({"epoch": 2, "metrics": {"train/loss": 1.25, f"valid/{'long' * 20}": 2.0}, "seconds": 22.0})
    display.say("[red]as it is[/red] :smile: 12")
  return file.getvalue()


LINES = [f"epoch 2/3  train loss 1.250  valid {'long' * 20} 2  12.0 s", "[red]as it is[/red] :smile: 12"]


@pytest.mark.parametrize("terminal", [False, True])
def test_the_first_step_is_announced_and_timed_once(monkeypatch, terminal):
  file, clock = Terminal() if terminal else io.StringIO(), iter([100.0, 158.94])
  monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
  with Display(steps=30, epochs=3, console=Console(file=file, force_terminal=terminal or None, width=60, get_time=lambda: 0.0)) as display:
    display.compiling()
    said = file.getvalue()
    assert terminal or said == "compiling the first step ...\n"
    for step in (1, 2):
      display.step(step, 1.5)
    text = file.getvalue().removeprefix(said)
  assert text.count("the first step took 58.9 s\n") == 1 and "..." not in text
  assert terminal or text == "the first step took 58.9 s\n"


def test_without_a_terminal_there_are_lines_alone(monkeypatch):
  for force in ({}, {"FORCE_COLOR": "1"}):
    for name, value in force.items():
      monkeypatch.setenv(name, value)
    assert show(io.StringIO(), None).splitlines() == LINES


def test_with_a_terminal_there_is_a_bar_too():
  text = show(Terminal(), True)
  plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
  assert "compiling" in plain and "10/30" in plain and "loss 1.5" in plain and "20/30" in plain
  assert plain.index("compiling") < plain.index("loss 1.5") and plain.rindex("compiling") < plain.index("loss 1.5")
  assert all(line in plain for line in LINES)
