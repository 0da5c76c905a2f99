"""The process of a peer, with scripts in the place of PyTorch: what it is given and answers, how it ends, and which Python is refused."""

import json
import os
import sys
import venv

import jax
import numpy as np
import pytest

from dnas.cells.registries import SPACES
from dnas.core.errors import FieldError
from dnas.launchers.peers import process

ECHO = """
import json, os, sys
import numpy as np
arrays = np.load(sys.argv[2])
print(json.dumps([os.getpid(), str(arrays["about"]), arrays["a/0"].tolist()]), flush=True)
for number, line in enumerate(sys.stdin):
  if number == 2:
    print("before", file=sys.stderr)
    raise RuntimeError("there is no more")
  print(json.dumps([number, line]), flush=True)
"""
PROBLEM = {"about": np.array("{}"), "a/0": np.arange(3)}


def ended(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return True
  return False


def test_it_answers_line_by_line_and_ends_with_the_context():
  with process.running(sys.executable, "job", PROBLEM, ECHO) as peer:
    pid, *given = peer.about
    assert given == ["{}", [0, 1, 2]] and not ended(pid)
    assert [peer.step(), peer.step()] == [[0, "step\n"], [1, "step\n"]]
  assert ended(pid)


def test_it_ends_on_an_error_of_ours():
  with pytest.raises(ZeroDivisionError), process.running(sys.executable, "job", PROBLEM, ECHO) as peer:
    1 / 0  # noqa: B018
  assert ended(peer.about[0])


def test_one_that_dies_is_told_with_the_last_that_it_said():
  with pytest.raises(FieldError) as caught, process.running(sys.executable, "job", PROBLEM, ECHO) as peer:
    for _ in range(3):
      peer.step()
  sentence = f"peer is {sys.executable}; its process ended with status 1 (its last line: RuntimeError: there is no more)."
  assert str(caught.value) == sentence


def test_one_that_dies_at_once_is_told():
  with pytest.raises(FieldError, match="its process ended with status 2"), process.running(sys.executable, "job", PROBLEM, "exit(2)"):
    pass


def refusal(python):
  with pytest.raises(FieldError) as caught:
    process.check_python(str(python))
  text = str(caught.value)
  assert text.startswith(f"peer is {python}; ") and text.endswith("such as --peer=python3.11 or the path of one.") and "\n" not in text
  return text


def test_a_python_without_pytorch_is_refused(tmp_path):
  venv.create(tmp_path, symlinks=True, with_pip=False)
  assert "it lacks numpy and torch, so give a Python that has PyTorch and NumPy" in refusal(tmp_path / "bin" / "python")


def test_what_is_no_python_is_refused(tmp_path):
  assert "there is no such program" in refusal(tmp_path / "python")
  assert "there is no such program" in refusal(tmp_path)
  assert "it is not a working Python (its last line: nothing)" in refusal("true")
  program = tmp_path / "python"
  program.write_text("#!/bin/sh\necho one >&2\necho two >&2\nexit 3\n")
  program.chmod(0o755)
  assert "it is not a working Python (its last line: two)" in refusal(program)
  program.write_text("neither a script nor a program")
  assert "it is not a working Python" in refusal(program)


def test_the_problem_names_weights_by_their_paths():
  weights = {"stack": {"cells": [{"kernel": jax.numpy.ones(2)}]}, "classifier": {3: np.zeros(1)}}
  problem = process.problem(process.about_search(SPACES["darts_conv"], 4, 3, batch=8, image_size=16), weights)
  assert sorted(problem) == ["about", "classifier/3", "stack/cells/0/kernel"]
  about = json.loads(str(problem["about"]))
  assert about["reductions"] == [1, 2] and ["dil_conv_5x5", [[5, 2]]] in about["operations"] and ["none", []] in about["operations"]
