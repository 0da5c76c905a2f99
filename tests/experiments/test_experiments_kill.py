"""Real launchers in processes of their own, killed and stopped at random moments: the same command ends in the bits of the unbroken run."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from tiny_runs import SEARCH, STEPS, TRAIN, cache_flag, final_bits, history, saved_steps

import dnas

FLAGS = {"search": (*SEARCH, "--save_every_steps=1"), "train": (*TRAIN, "--save_every_steps=1", "--genotype=DARTS_V2")}
PATIENCE = 240
"""Seconds until a process that should have ended or begun is given up; a machine without compiled programs needs most of them."""


def start(launcher, workdir):
  root = pathlib.Path(dnas.__file__).parents[1]
  command = [sys.executable, "-m", f"experiments.{launcher}", *FLAGS[launcher], cache_flag(), f"--workdir={workdir}"]
  environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
  return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
  out, err = process.communicate(timeout=PATIENCE)
  assert "Traceback" not in err, err
  return process.returncode, out, err


def saved(workdir):
  return (saved_steps(workdir) or [0])[-1]


def wait_for_progress(process, workdir, step):
  end = time.monotonic() + PATIENCE
  while process.poll() is None and saved(workdir) <= step and time.monotonic() < end:
    time.sleep(0.005)


def kill_all_along(launcher, workdir, moments, rng):
  """Kills the run after it has moved on, once per number in `moments`, so many steps later; returns how many kills hit it alive."""
  hits = 0
  for steps in moments:
    process = start(launcher, workdir)
    wait_for_progress(process, workdir, saved(workdir) + steps)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    hits += ended(process)[0] == -signal.SIGKILL
  return hits


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  def run(launcher):
    workdir = tmp_path_factory.mktemp("unbroken") / launcher
    status, _, err = ended(start(launcher, workdir))
    assert status == 0, err
    return history(workdir), final_bits(workdir)

  return run


def test_a_search_that_is_killed_and_stopped_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir = random.Random(3), tmp_path / "run"
  process = start("search", workdir)
  time.sleep(rng.uniform(0.5, 3))  # while it imports or compiles
  process.kill()
  assert ended(process)[0] == -signal.SIGKILL
  assert kill_all_along("search", workdir, (0, rng.randrange(1, 4)), rng) == 2 and 0 < saved(workdir) < 2 * STEPS

  process = start("search", workdir)
  wait_for_progress(process, workdir, saved(workdir))
  process.send_signal(signal.SIGTERM)
  status, out, err = ended(process)
  assert status == 143 and err.startswith("error: stopped as requested after step") and "the same command continues the run" in err
  assert "SIGTERM received: saving after this step" in out and "resumed after step " in out
  stopped = saved(workdir)
  assert f"after step {stopped} of {2 * STEPS}" in err

  status, out, err = ended(start("search", workdir))
  assert status == 0 and err == "" and f"resumed after step {stopped} of {2 * STEPS}" in out
  wanted = unbroken("search")
  assert history(workdir) == wanted[0]
  assert final_bits(workdir) == wanted[1] and wanted[1][0] == 2 * STEPS


def test_a_retraining_that_is_killed_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir = random.Random(4), tmp_path / "run"
  assert kill_all_along("train", workdir, (rng.randrange(4),), rng) == 1 and saved(workdir)
  assert ended(start("train", workdir))[0] == 0
  wanted = unbroken("train")
  assert history(workdir) == wanted[0] and "test/accuracy" in wanted[0][1]
  assert final_bits(workdir) == wanted[1]
