"""What a person reads: the line of an epoch, with a terminal and without."""

import io
import re

import pytest
from rich.console import Console

from dnas.run import console
from dnas.run.console import Display, epoch_line, shown_seconds


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
  file, clock = Terminal() if terminal else io.StringIO(), iter([100.0, 158.94, 158.94, 159.0])
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


@pytest.mark.parametrize("width", [20, 45, 300])
def test_a_terminal_of_any_width_gets_whole_lines_and_a_bar_of_one_line(width):
  file = Terminal()
  with Display(steps=30, epochs=3, console=Console(file=file, force_terminal=True, width=width)) as display:
    display.step(1, 1.5)
    display._bar.refresh()
    display.say(LINES[0])
  plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
  assert LINES[0] in plain
  drawn = [line for line in re.split(r"[\r\n]+", plain) if "/30" in line or "━" in line]
  assert drawn and all(len(line) <= width for line in drawn)
  assert "\x1b[2A" not in file.getvalue(), "the bar has one line"


def test_no_colour_where_none_is_wanted_and_no_bar_on_a_terminal_without_a_cursor(monkeypatch):
  monkeypatch.setenv("TERM", "xterm-256color")
  coloured = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
  assert coloured.search(show(Terminal(), True))
  monkeypatch.setenv("NO_COLOR", "1")
  assert not coloured.search(show(Terminal(), True))
  monkeypatch.setenv("TERM", "dumb")
  assert show(Terminal(), None).splitlines() == LINES


def test_the_length_of_a_run_is_told_once_after_its_first_steps(monkeypatch):
  file, now = io.StringIO(), [0.0]
  monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
  with Display(steps=1000, epochs=10, console=Console(file=file)) as display:
    display.compiling()
    now[0] = 60.0
    for step in range(1, 40):
      display.step(step, 1.5)
      now[0] += 5.0 if step == 5 else 0.25  # a validation is no step
  lines = file.getvalue().splitlines()
  told = "the rest takes about 4.1 min: 987 steps of 250 ms; validations, other compilations and slower steps later are not counted"
  assert lines == ["compiling the first step ...", "the first step took 60.0 s", told]


def test_slow_steps_are_told_earlier_and_a_run_of_few_steps_tells_nothing(monkeypatch):
  for steps, seconds, expected in ((100, 10.0, ["the rest takes about 16 min: 95 steps of 10 s"]), (3, 10.0, []), (12, 0.1, [])):
    file, now = io.StringIO(), [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda now=now: now[0])
    with Display(steps=steps, epochs=1, console=Console(file=file)) as display:
      display.compiling()
      for step in range(1, steps + 1):
        display.step(step, 1.5)
        now[0] += seconds
    assert [line.partition(";")[0] for line in file.getvalue().splitlines()[2:]] == expected


DURATIONS = [(0.0794, "79 ms"), (0.236, "236 ms"), (12.3, "12 s"), (89, "89 s"), (750, "12 min"), (72_000, "20 h"), (270_000, "3.12 days")]


@pytest.mark.parametrize("seconds, text", DURATIONS)
def test_durations_are_shown_in_their_largest_unit(seconds, text):
  assert shown_seconds(seconds) == text
