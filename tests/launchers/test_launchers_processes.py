"""One search in two processes that share every batch: the numbers of one process, and what happens when one of them ends."""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import forks
import pytest
from tiny_runs import ENVIRONMENT, ROOT, cache_flag, history, refusal, saved_steps

from dnas.launchers import _flags, _run

OWN = pathlib.Path(__file__).parent / "own_script.py"  # with a space of few edges, since every process compiles every program
FLAGS = (f"--imports={OWN}", "--space=own_space", "--data.dataset=synthetic", "--data.batch_size=32")
FLAGS = (*FLAGS, "--supernet.cells=1", "--supernet.channels=2")
FLAGS = (*FLAGS, "--darts.epochs=3", "--darts.diagnose_every=0", "--save_every_steps=2")
STEPS = 24
PATIENCE = 240


def run_alone(folder):
  done = forks.run("-m", "experiments.search", *FLAGS, cache_flag(), f"--workdir={folder}", cwd=ROOT, env=ENVIRONMENT)
  assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  folder = tmp_path_factory.mktemp("alone") / "run"
  run_alone(folder)
  return folder


def free_address():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{free.getsockname()[1]}"


def start(workdir):
  """Starts two processes on this machine."""
  together = (f"--coordinator={free_address()}", "--num_processes=2", cache_flag(), f"--workdir={workdir}")
  command = [sys.executable, "-m", "experiments.search", *FLAGS, *together]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  return [subprocess.Popen([*command, f"--process_id={index}"], cwd=ROOT, env=ENVIRONMENT, **pipes) for index in range(2)]


def wait_for_step(processes, workdir, step):
  end = time.monotonic() + PATIENCE
  while max([0, *saved_steps(workdir)]) < step and time.monotonic() < end and all(process.poll() is None for process in processes):
    time.sleep(0.01)


def ended(processes, patience=PATIENCE):
  outcomes = []
  for process in processes:
    out, err = process.communicate(timeout=patience)
    assert "Traceback" not in err, err
    outcomes.append((process.returncode, out, err))
  return outcomes


def close(ours, theirs):
  assert [line.keys() for line in ours[0]] == [line.keys() for line in theirs[0]]
  for one, other in zip(ours[0], theirs[0], strict=True):
    assert one == pytest.approx(other, rel=1e-2, abs=1e-2)  # sums were rounded in another order


def test_a_search_stops_goes_on_loses_a_process_and_goes_on_alone(alone, tmp_path):
  workdir = tmp_path / "run"
  processes = start(workdir)
  wait_for_step(processes, workdir, 10)  # an epoch of 8 steps is complete
  processes[1].send_signal(signal.SIGTERM)  # one is asked, and all stop at the same step
  outcomes = ended(processes)
  assert [status for status, _, _ in outcomes] == [143, 143], outcomes
  assert "the same command continues the run" in outcomes[0][2] and "epoch" not in outcomes[1][1]
  stopped = saved_steps(workdir)[-1]
  assert 10 <= stopped < STEPS
  written = {path.name for path in (workdir / "checkpoints" / str(stopped) / "leaves").glob("ocdbt.process_*")}
  assert written == {"ocdbt.process_0", "ocdbt.process_1"}  # both wrote their part

  processes = start(workdir)
  wait_for_step(processes, workdir, stopped + 2)
  processes[1].kill()
  (status, out, err), _ = ended(processes, patience=60)
  assert status == 1 and f"resumed after step {stopped} of {STEPS}" in out
  assert re.search(r"error: another process of this run is gone \(.+\); start all of them again, and the run goes on\.\n$", err), err
  assert stopped < saved_steps(workdir)[-1] < STEPS

  run_alone(workdir)
  close(history(workdir), history(alone))


CONNECT = """
import sys, time
from dnas.core import devices
devices.connect(sys.argv[1], 2, int(sys.argv[2]))
print("connected", flush=True)
if sys.argv[3] == "stay":
  time.sleep(600)
"""


@pytest.mark.parametrize("stays", [True, False])
def test_the_coordinator_is_killed(stays):
  command, pipes = [sys.executable, "-c", CONNECT, free_address()], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  processes = [subprocess.Popen([*command, str(index), "stay" if stays else "go"], env=ENVIRONMENT, **pipes) for index in range(2)]
  assert all(process.stdout.readline() == "connected\n" for process in processes)
  if stays:
    processes[0].kill()
  (_, _), (_, err) = (process.communicate(timeout=60) for process in processes)
  said = "error: process 1 of this run ended without a word of its own, as it does when process 0 is gone; start all of them again" in err
  assert said == stays == bool(processes[1].returncode), err


def test_refusals(workdir, capsys):
  together = "--coordinator=127.0.0.1:1", "--num_processes=2"
  assert refusal(capsys, "search", workdir, "--num_processes=2").startswith("--num_processes is 2; ")
  assert refusal(capsys, "search", workdir, "--coordinator=127.0.0.1:1").startswith("--num_processes is 1; ")
  assert refusal(capsys, "search", workdir, "--coordinator=here", "--num_processes=2").startswith("--coordinator is here; ")
  assert refusal(capsys, "search", workdir, *together, "--process_id=2").startswith("--process_id is 2; ")
  assert refusal(capsys, "search", workdir, *together, "--process_id=-1").startswith("--process_id is -1; ")
  assert refusal(capsys, "search", workdir, "--num_processes=0").startswith("--num_processes is 0; ")


def test_no_process_goes_on_before_the_first_has_opened_the_folder(tmp_path, monkeypatch):
  """One that made its checkpoints earlier would make the folder look like none of this run."""
  met = []
  monkeypatch.setattr(_run.devices, "meet", lambda: met.append(sorted(path.name for path in tmp_path.iterdir())))
  parts = _run.Parts({}, "")
  with _run.open_folder(_flags.Options(workdir=str(tmp_path)), "search", {}, parts, {}):
    assert len(met) == 1 and "config.json" in met[0] and "checkpoints" not in met[0]
