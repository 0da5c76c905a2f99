"""What is printed and drawn never ends a run: closed pipes, full disks, terminals without a character, drawings that fail."""

import io
import os
import subprocess
import sys

import pytest
from tiny_runs import ENVIRONMENT, ROOT, SEARCH, TRAIN, launch

from dnas.launchers import _output, report, search, train


def broken(kind):
  if kind == "full":
    return open("/dev/full", "w")
  if kind == "ascii":
    return io.TextIOWrapper(io.BytesIO(), "ascii")
  reading, writing = os.pipe()
  os.close(reading)
  return os.fdopen(writing, "w")


@pytest.mark.parametrize("kind", ["full", "closed pipe"])
def test_a_stream_that_takes_nothing(kind):
  stream = broken(kind)
  output = _output.Output(stream)
  for _ in range(3):
    print("x" * 10_000, file=output, flush=True)
  assert not output.isatty()
  stream.close()  # as Python does at its end; nothing is left that could fail


def test_a_terminal_that_lacks_characters():
  stream = broken("ascii")
  print("3.37 ± 0.75 – 数", file=_output.Output(stream), flush=True)
  assert stream.buffer.getvalue() == b"3.37 +- 0.75 - \\u6570\n"


@pytest.mark.parametrize("kind", ["full", "closed pipe", "ascii"])
def test_a_run_comes_to_its_end_whatever_its_output_is(kind, tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "stdout", broken(kind))
  monkeypatch.setattr(sys, "stderr", broken(kind))
  assert launch("train", *TRAIN, f"--workdir={tmp_path / 'run'}") == 0
  assert (tmp_path / "run" / "result.json").exists()
  assert launch("train", *TRAIN, "--train.epochs=0", f"--workdir={tmp_path / 'other'}") == 2
  sys.stdout.close()
  sys.stderr.close()


def test_closed_streams_are_no_files_of_a_run(tmp_path):
  script = "from dnas.launchers import _output\nwith _output.forgiving():\n  print(open('kept', 'w').fileno())\n"
  command = ["sh", "-c", f'{sys.executable} -c "$0" >&- 2>&- <&-; echo $?', script]
  done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
  assert done.stdout == "0\n" and (tmp_path / "kept").read_text() == ""


@pytest.mark.parametrize(
  "launcher, module, flags, error",
  [("train", train, TRAIN, OSError(28, os.strerror(28))), ("search", search, SEARCH, RuntimeError("no font"))],
)
def test_pictures_that_fail_leave_the_results(launcher, module, flags, error, tmp_path, monkeypatch, capsys):
  def fails(*_):
    raise error

  monkeypatch.setattr(module, "save_pictures", fails)
  assert launch(launcher, *flags, f"--workdir={tmp_path / 'run'}") == 0
  out = capsys.readouterr().out
  assert "warning: the pictures are not drawn (" in out and "the results are whole" in out and "pictures: " not in out
  assert (tmp_path / "run" / "result.json").exists()


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
  (tmp_path / "log").symlink_to("/dev/full")
  with _output.to_log(tmp_path / "log"):
    print("x" * 100_000, flush=True)
    print("y")


def test_an_error_of_the_file_system_is_one_sentence(tmp_path, monkeypatch, capsys):
  def fails(_):
    raise PermissionError(13, os.strerror(13), str(tmp_path / "report"))

  monkeypatch.setattr(report.comparisons, "load", fails)
  assert report.main(["report", f"--workdir={tmp_path}"]) == 1
  sentence = "cannot be used (permission denied); free space or set permissions there and give the command again."
  assert capsys.readouterr().err == f"error: {tmp_path / 'report'} {sentence}\n"
