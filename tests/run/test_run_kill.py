"""Real processes that are killed, stopped and starved of disk, and then run again: they end in the bits of the unbroken run."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from run_toy import EPOCHS, STEPS, Toy, bits, launch

import dnas

TOY = pathlib.Path(__file__).with_name("run_toy.py")


def start(workdir, *flags):
  root = pathlib.Path(dnas.__file__).parents[1]
  # No cache of programs: a process that is killed or starved of disk while it writes a program leaves half of it, and JAX warns of that.
  environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(root)}
  command = [sys.executable, "-W", "error", str(TOY), str(workdir), *flags]
  return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)


def ended(process):
  """Waits, and returns exit status, last line of the output, and what the error stream held."""
  out, err = process.communicate(timeout=120)
  return process.returncode, (out.strip().splitlines() or [""])[-1], err


def files(workdir):
  """The text files of a run, but for the times."""
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  for line in lines:
    assert line.pop("seconds") > 0
  names = ["architecture.jsonl", "genotype.json", "result.json", *sorted(f"genotypes/{p.name}" for p in (workdir / "genotypes").iterdir())]
  return lines, {name: (workdir / name).read_text() for name in names}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("unbroken") / "run"
  position = launch(workdir, Toy())
  return [[leaf[0], leaf[1], leaf[3].hex()] for leaf in bits(position.state)], files(workdir)


def temporaries(workdir):
  return list((workdir / "checkpoints").glob("*-tmp*"))


def test_killed_at_random_moments_and_while_saving(unbroken, tmp_path):
  rng, workdir, kills, while_saving = random.Random(11), tmp_path / "run", 0, 0
  for attempt in range(5):
    process = start(workdir)
    process.stdout.readline()  # the first step
    time.sleep(rng.uniform(0, 0.4))
    while attempt % 2 and process.poll() is None and not temporaries(workdir):
      time.sleep(0.0005)
    process.kill()
    kills += ended(process)[0] == -signal.SIGKILL
    while_saving += bool(temporaries(workdir))
  assert kills >= 3 and while_saving >= 1, (kills, while_saving)
  status, state, err = ended(start(workdir))
  assert (status, err) == (0, "")
  assert json.loads(state) == unbroken[0] and files(workdir) == unbroken[1]
  assert not temporaries(workdir)


def test_sigterm_saves_and_the_same_command_continues(unbroken, tmp_path):
  workdir = tmp_path / "run"
  process = start(workdir, "--save_every_steps=0")
  for _ in range(STEPS + 3):
    process.stdout.readline()
  process.send_signal(signal.SIGTERM)
  status, last, err = ended(process)
  assert (status, err) == (3, "") and last.startswith("Stopped: stopped as requested after step")
  assert ended(start(workdir)) == (0, json.dumps(unbroken[0]), "")
  assert files(workdir) == unbroken[1]


def test_a_second_signal_kills_at_once(tmp_path):
  process = start(tmp_path / "run", "--epochs=100000")
  process.stdout.readline()
  process.send_signal(signal.SIGSTOP)  # so that both signals are there before Python can run a handler
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGCONT)
  status, last, err = ended(process)
  assert status in (128 + signal.SIGTERM, 128 + signal.SIGINT) and "Traceback" not in err and not last.startswith("Stopped")


@pytest.mark.parametrize("size", [100, 600])  # bytes: too little for the arrays, for the history
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(unbroken, tmp_path, size):
  workdir = tmp_path / "run"
  status, last, err = ended(start(workdir, "--file_size_after=3", f"--file_size={size}"))
  assert (status, err) == (2, "") and last.startswith("InputError: the checkpoint of step")
  assert str(workdir / "checkpoints") in last and "file too large" in last
  kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())[-1]
  assert f"the last good one, of step {kept}, is kept" in last and 1 <= kept <= STEPS
  assert ended(start(workdir)) == (0, json.dumps(unbroken[0]), "")
  assert files(workdir) == unbroken[1] and len(files(workdir)[0]) == EPOCHS
