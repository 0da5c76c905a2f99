"""benchmarks/accelerator.sh: its commands, its time limit and its refusals. A stand-in of Python notes what it is started with."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import dnas
from benchmarks import look_up
from dnas.cells.registries import SPACES
from dnas.evaluate import nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import report_test
from dnas.launchers import search, speed, train

ROOT = pathlib.Path(dnas.__file__).parents[1]
METHODS = ["darts", "pc_darts", "gdas", "drnas", "gaea", "snas", "fair_darts"]
STAND_IN = """#!{python}
import json, os, signal, sys, time
with open({log!r}, "a") as log:
  log.write(json.dumps(sys.argv[1:]) + "\\n")
if {waits} and "dnas" in sys.argv:
  heard = []
  signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
  end = time.monotonic() + 20
  while not heard and time.monotonic() < end:
    time.sleep(0.01)
  time.sleep(0.3)
  print("signals:", heard)
  sys.exit(143)
"""


@pytest.fixture
def started(tmp_path):
  """Returns a function that runs a step with the stand-in, and returns what ended and the commands."""

  def start(*words, waits=False, **environment):
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, log=str(log), waits=waits))
    python.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DNAS_")}
    own = {"PYTHON": str(python), "DNAS_RUNS": str(tmp_path / "runs"), "DNAS_DATA_DIR": "data"} | environment
    ended = subprocess.run(["sh", "benchmarks/accelerator.sh", *words], cwd=ROOT, env=kept | own, capture_output=True, text=True)
    lines = log.read_text().splitlines() if log.exists() else []
    return ended, [json.loads(line)[1:] for line in lines if "-c" not in json.loads(line)]

  return start


@pytest.mark.parametrize("step", range(1, 8))
def test_the_commands_of_a_step_are_ones_that_the_launchers_take(started, monkeypatch, step):
  ended, commands = started(str(step), "--compilation_cache_gb=3" if step not in (2, 4) else "--steps=3")
  assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.endswith(f"step {step} is complete\n")
  launched, configs = [words[1:] for words in commands if words[0] == "dnas"], []
  for launcher in (search, speed, train):
    monkeypatch.setattr(launcher.LAUNCHER, "_run", lambda config, options, given: configs.append((config, options)))
  for name, *flags in launched:
    assert {"search": search, "speed": speed, "train": train}[name].main([name, *flags]) == 0
  assert len(configs) == {2: 2, 4: 2, 6: 7}.get(step, 1)
  assert len({options.workdir for _, options in configs}) == len(configs)
  if step in (2, 4):
    assert [(config.precision, config.seeds) for config, _ in configs] == (
      [("float32", (1,)), ("bfloat16", (1,))] if step == 2 else [("bfloat16", (4,)), ("bfloat16", (8,))]
    )
    assert all(config.steps == 3 and config.batch == (64,) for config, _ in configs)
  else:
    assert all((options.keep_checkpoints, options.save_every_steps, options.compilation_cache_gb) == (1, 0, 3) for _, options in configs)
  if step == 6:
    assert [config.method for config, _ in configs] == METHODS and {config.space for config, _ in configs} == {"nasbench201"}
  assert [words[0] for words in commands if words[0] != "dnas"] == {1: ["pytest"], 6: 7 * ["benchmarks.look_up"]}.get(step, [])


def test_at_the_end_of_its_time_a_step_sends_one_signal_and_says_how_to_go_on(started, tmp_path):
  began = time.monotonic()
  ended, commands = started("6", waits=True, DNAS_STEP_SECONDS="2")
  assert time.monotonic() - began < 15
  assert ended.returncode == 143 and len(commands) == 1
  assert ended.stdout.splitlines()[-2:] == [f"signals: [{int(signal.SIGTERM)}]", "step 6: its 2 seconds are over; the same command goes on"]


def test_a_search_that_has_ended_is_not_repeated(started, tmp_path):
  folder = tmp_path / "runs" / "nasbench201" / "darts"
  folder.mkdir(parents=True)
  (folder / "result.json").write_text("{}")
  _, commands = started("6")
  assert len([words for words in commands if words[0] == "dnas"]) == len(METHODS) - 1


@pytest.mark.parametrize(
  ("words", "environment", "sentence"),
  [
    ((), {}, "give the number of a step."),
    (("8",), {}, "STEP is 8; give a number from 1 to 7."),
    (("--help",), {}, "STEP is --help; give a number from 1 to 7."),
    (("3",), {"DNAS_DATA_DIR": ""}, "DNAS_DATA_DIR is not set; give the folder with the data."),
    (("1",), {"DNAS_STEP_SECONDS": "9m"}, "DNAS_STEP_SECONDS is 9m; give whole seconds above 0, such as 480."),
    (("1",), {"DNAS_STEP_SECONDS": "0"}, "DNAS_STEP_SECONDS is 0; give whole seconds above 0, such as 480."),
  ],
)
def test_refusals(started, words, environment, sentence):
  ended, commands = started(*words, **environment)
  assert (ended.returncode, ended.stderr, commands) == (2, f"error: {sentence}\n", [])
  assert ended.stdout.startswith("usage: sh benchmarks/accelerator.sh STEP [flags]")


def test_what_the_searches_found_is_printed_with_and_without_a_table(tmp_path, capsys):
  (tmp_path / "darts").mkdir()
  text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
  (tmp_path / "darts" / "genotype.json").write_text(text)
  assert look_up.main(["look_up", str(tmp_path)]) == 0
  assert "| darts  | " + text.replace("|", "\\|") + " |" in capsys.readouterr().out
  table = synthetic_table.planted()
  nasbench201_formats.write_npz(tmp_path / "table.npz", {"cifar10": table})
  assert look_up.main(["look_up", str(tmp_path), str(tmp_path / "table.npz")]) == 0
  assert f" {report_test(table, SPACES['nasbench201'].parse(text)):.2f} " in capsys.readouterr().out
  assert look_up.main(["look_up", str(tmp_path), str(tmp_path / "none.npz")]) == 2
  assert "none.npz" in capsys.readouterr().err
