"""Runs a peer, the same work in another framework, in a process of its own.

Another Python runs the peer, so its packages need not fit ours. The peer is a Python program. Its arguments are a job and a file of arrays.
It first prints a line about itself. For every input line 'step' it takes a step in each of its forms, and prints a line with their seconds.
Both kinds of lines are JSON. The peer ends at the end of its input, and so also when this process is killed.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dnas.cells.image_stack import reduction_indices
from dnas.cells.language_model import Config as LanguageConfig
from dnas.cells.operations import OPERATIONS, Separable
from dnas.core.config import check
from dnas.core.errors import FieldError
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace

PYTORCH = f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r}); from pytorch import serve; serve.main(*sys.argv[1:])"
"""The program of the peer in PyTorch."""

_NEEDS = """
import importlib.util, json, sys
missing = [] if sys.version_info >= (3, 10) else ["Python 3.10 or newer"]
print(json.dumps(missing + [name for name in ("numpy", "torch") if importlib.util.find_spec(name) is None]))
"""
_HINT = "give a Python that has PyTorch and NumPy, such as --peer=python3.11 or the path of one"


def check_python(python: str) -> None:
  """Raises FieldError if there is no such program, if it is no Python, or if it lacks what the peer needs."""
  check(shutil.which(os.path.expanduser(python)) is not None, "peer", python, f"there is no such program, so {_HINT}")
  said = b""
  try:
    run = subprocess.run([*_command(python), "-c", _NEEDS], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    said = run.stderr
    missing = json.loads(run.stdout)
  except (OSError, ValueError, subprocess.TimeoutExpired):
    missing = None
  check(isinstance(missing, list), "peer", python, f"it is not a working Python (its last line: {_last_line(said)}), so {_HINT}")
  check(not missing, "peer", python, f"it lacks {' and '.join(map(str, missing or ()))}, so {_HINT}")


def about_search(space: CellSpace, channels: int, cells: int, batch: int, image_size: int) -> dict[str, Any]:
  """Returns the description of a search on images that `problem` gives the peer."""
  return {
    "operations": [(name, _layers(name)) for name in space.operations],
    "edges": space.edges,
    "num_nodes": space.num_nodes,
    "concat": space.concat,
    "reductions": reduction_indices(cells),
    "cells": cells,
    "channels": channels,
    "batch": batch,
    "image_size": image_size,
  }


def about_network(genotype: Genotype, cells: int, batch: int, image_size: int) -> dict[str, Any]:
  """Returns the description of an image network that `problem` gives the peer."""
  nodes = {kind: [[(edge.operation, edge.source) for edge in node] for node in cell.nodes] for kind, cell in genotype.cells}
  names = {name for cell in nodes.values() for node in cell for name, _ in node}
  return {
    "genotype": {kind: (nodes[kind], cell.concat) for kind, cell in genotype.cells},
    "operations": {name: _layers(name) for name in names},
    "reductions": reduction_indices(cells),
    "cells": cells,
    "batch": batch,
    "image_size": image_size,
  }


def about_language(space: CellSpace, genotype: Genotype | None, config: LanguageConfig, batch: int, words: int) -> dict[str, Any]:
  """Returns the description of a language model that `problem` gives the peer; without a genotype, of the supernet."""
  cell = None if genotype is None else genotype["recurrent"]
  rates = ("words", "embedding", "inputs", "hidden", "output")
  return {
    "genotype": cell and [(edge.operation, edge.source) for (edge,) in cell.nodes],
    "concat": space.concat if cell is None else cell.concat,
    "operations": space.operations,
    "dropout": {rate: getattr(config, f"dropout_{rate}") for rate in rates},
    "penalties": (config.activation_penalty, config.temporal_penalty),
    "batch": batch,
    "words": words,
  }


def _layers(name: str) -> tuple[tuple[int, int], ...]:
  kind = OPERATIONS[name]
  return kind.layers if isinstance(kind, Separable) else ()


def problem(about: Mapping[str, Any], weights: Any) -> dict[str, np.ndarray]:
  """Returns the arrays that the peer reads, none of which needs pickle: the weights by their paths, and `about` as JSON."""
  leaves = jax.tree_util.tree_leaves_with_path(weights)
  named = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
  return {"about": np.array(json.dumps(about)), **named}


class Peer:
  """A running peer.

  Attributes:
    about: the line of the peer about itself: its versions and its number of threads.
  """

  def __init__(self, python: str, process: subprocess.Popen, errors: pathlib.Path):
    """Waits until the peer is ready; `errors` is the file of its standard error. Raises FieldError if the peer ends before that."""
    self._python, self._process, self._errors = python, process, errors
    self.about: dict[str, Any] = self._answer()

  def step(self) -> list[float]:
    """Takes a step in each form of the peer, and returns their seconds. Raises FieldError if the peer ends."""
    with contextlib.suppress(BrokenPipeError):  # then there is no answer either
      self._process.stdin.write(b"step\n")
    return self._answer()

  def _answer(self) -> Any:
    line = self._process.stdout.readline()
    if line.endswith(b"\n"):
      return json.loads(line)
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(10)
    last = _last_line(self._errors.read_bytes())
    raise FieldError("peer", self._python, f"its process ended with status {self._process.returncode} (its last line: {last})")


@contextlib.contextmanager
def running(python: str, job: str, problem: Mapping[str, np.ndarray], program: str = PYTORCH) -> Iterator[Peer]:
  """Runs a job of a program on a problem as long as the context lasts. Raises FieldError if the peer ends before it is ready."""
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root)
    np.savez(folder / "problem.npz", **problem)
    command = [*_command(python), "-c", program, job, str(folder / "problem.npz")]
    with open(folder / "errors", "wb") as errors:
      process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    with process:
      try:
        yield Peer(python, process, folder / "errors")
      finally:
        process.kill()


def _last_line(said: bytes) -> str:
  lines = said.decode(errors="replace").strip().splitlines()
  return lines[-1].strip()[:200] if lines else "nothing"


def _command(python: str) -> list[str]:
  return [os.path.expanduser(python), "-E"]  # our PYTHONPATH may not fit that Python
