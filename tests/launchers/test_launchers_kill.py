"""Real launchers in processes of their own, killed and stopped at random moments: the same command ends in the bits of the unbroken run."""

import random
import signal
import subprocess
import sys
import time

import forks
import pytest
from tiny_runs import ENVIRONMENT, ROOT, SEARCH, STEPS, TEXT_SEARCH, TEXT_TRAIN, TRAIN, cache_flag, final_bits, history, saved_steps

FLAGS = {
  "search": ("search", *SEARCH, "--without=max_pool_3x3,sep_conv_5x5,dil_conv_5x5"),
  "train": ("train", *TRAIN, "--genotype=DARTS_V2"),
  "text_search": ("search", *TEXT_SEARCH, "--data.tokens=1200"),
  "text_train": ("train", *TEXT_TRAIN, "--data.tokens=1200", "--train.learning_rate=120", "--genotype=DARTS_V2"),
}
"""Name of a run to its launcher and flags."""
PATIENCE = 240
"""Seconds until a process that should have ended or begun is given up; a machine without compiled programs needs most of them."""


def words(run, workdir):
  launcher, *flags = FLAGS[run]
  return "-m", f"experiments.{launcher}", *flags, "--save_every_steps=1", cache_flag(), f"--workdir={workdir}"


def start(run, workdir):
  return forks.Process(*words(run, workdir), cwd=ROOT, env=ENVIRONMENT)


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


def kill_all_along(run, workdir, moments, rng):
  """Kills the run after it has moved on, once per number in `moments`, so many steps later; returns how many kills hit it alive."""
  hits = 0
  for steps in moments:
    process = start(run, workdir)
    wait_for_progress(process, workdir, saved(workdir) + steps)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    hits += ended(process)[0] == -signal.SIGKILL
  return hits


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  def results(run):
    workdir = tmp_path_factory.mktemp("unbroken") / run
    command = [sys.executable, *words(run, workdir)]  # a Python of its own, with other hashes than the forks that are killed
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return history(workdir), final_bits(workdir)

  return results


def stop_after(run, workdir, steps):
  """Asks the run to stop after more than so many steps, and returns after how many it did."""
  process = start(run, workdir)
  wait_for_progress(process, workdir, steps)
  process.send_signal(signal.SIGTERM)
  status, out, err = ended(process)
  assert status == 143 and err.startswith("error: stopped as requested after step") and "the same command continues the run" in err
  assert "SIGTERM received: saving after this step" in out and "resumed after step " in out
  assert f"after step {saved(workdir)} of " in err
  return saved(workdir)


@pytest.mark.versions
def test_a_search_that_is_killed_and_stopped_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir = random.Random(3), tmp_path / "run"
  process = start("search", workdir)
  time.sleep(rng.uniform(0.5, 3))  # while it imports or compiles
  process.kill()
  assert ended(process)[0] == -signal.SIGKILL
  assert kill_all_along("search", workdir, (0, rng.randrange(1, 4)), rng) == 2 and 0 < saved(workdir) < 2 * STEPS

  stopped = stop_after("search", workdir, saved(workdir))
  status, out, err = ended(start("search", workdir))
  assert status == 0 and err == "" and f"resumed after step {stopped} of {2 * STEPS}" in out
  wanted = unbroken("search")
  assert history(workdir) == wanted[0]
  assert final_bits(workdir) == wanted[1] and wanted[1][0] == 2 * STEPS


@pytest.mark.versions
def test_a_retraining_that_is_killed_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir = random.Random(4), tmp_path / "run"
  assert kill_all_along("train", workdir, (rng.randrange(4),), rng) == 1 and saved(workdir)
  assert ended(start("train", workdir))[0] == 0
  wanted = unbroken("train")
  assert history(workdir) == wanted[0] and "test/accuracy" in wanted[0][1]
  assert final_bits(workdir) == wanted[1]


def hidden_states(bits):
  """Shapes of the hidden states in a checkpoint, by their paths."""
  return {name: tuple(shape) for name, shape, _ in bits[1] if "carry" in name or "hidden" in name}


def ends_of_epochs(outcome):
  return [line["step"] for line in outcome[0][0]]


def test_a_text_search_that_is_killed_and_stopped_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir, wanted = random.Random(5), tmp_path / "run", unbroken("text_search")
  first_end, end = ends_of_epochs(wanted)
  assert kill_all_along("text_search", workdir, (rng.randrange(1, 5),), rng) == 1 and 0 < saved(workdir) < first_end
  stopped = stop_after("text_search", workdir, first_end + rng.randrange(1, 5))
  assert first_end < stopped < end
  status, out, err = ended(start("text_search", workdir))
  assert status == 0 and err == "" and f"resumed after step {stopped} of {end}" in out
  assert history(workdir) == wanted[0] and "valid/perplexity" in wanted[0][1]
  assert final_bits(workdir) == wanted[1] and list(hidden_states(wanted[1]).values()) == [(8, 4), (8, 4)], "of training and of validation"


def test_a_text_retraining_that_is_killed_and_stopped_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path):
  rng, workdir, wanted = random.Random(6), tmp_path / "run", unbroken("text_train")
  first_end, _, averaging, end = ends_of_epochs(wanted)
  assert kill_all_along("text_train", workdir, (rng.randrange(1, 5),), rng) == 1 and 0 < saved(workdir) < first_end
  stopped = stop_after("text_train", workdir, averaging + 1)
  assert averaging < stopped < end and wanted[0][1]["averaging"] == 1
  assert ended(start("text_train", workdir))[0] == 0
  assert history(workdir) == wanted[0] and "test/perplexity" in wanted[0][1]
  assert final_bits(workdir) == wanted[1] and list(hidden_states(wanted[1]).values()) == [(8, 4)]
