"""Run folders, read back.

A run folder holds `config.json`, `metrics.jsonl` (a line per complete epoch), and, for a search, `genotypes/epoch_0001.json` onwards,
`genotype.json` and `architecture.jsonl` (a line per epoch, 0 being the state before training). Everything but `config.json` may be
missing, as it is in a run that was killed early.

A kill in the middle of a write leaves a last line that is not complete; it is ignored. A line that does not parse anywhere else is an
error. A run that was killed and resumed may write an epoch twice; the later line counts.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnas.core import json_files
from dnas.core.choice_space import from_json
from dnas.core.errors import InputError
from dnas.core.genotype import Architecture, parse


@dataclasses.dataclass(frozen=True)
class Run:
  """A finished, running or killed run.

  Attributes:
    folder: where it was read from.
    launcher: 'search' or 'train'.
    versions: package to version, as recorded when the run started.
    config: dotted path to value.
    metrics: one mapping per complete epoch, in rising order of its 'epoch'; losses are nats, accuracies fractions.
    genotypes: (epoch, genotype that the search would have returned then), in rising order; empty for training.
    genotype: the architecture that the run ended in, an `Architecture`, the last of `genotypes` if it has not ended, or None.
    mixture_epochs: epochs of `mixtures` [epochs]; 0 is before training.
    mixtures: cell type to weights of the operations on every edge [epochs, edges, operations].
    created: when the run began, in ISO 8601; empty if config.json does not say.
    command: the words of the command that began it; empty if config.json does not say.
  """

  folder: pathlib.Path
  launcher: str
  versions: Mapping[str, str]
  config: Mapping[str, Any]
  metrics: tuple[Mapping[str, float], ...]
  genotypes: tuple[tuple[int, Any], ...]
  genotype: Any
  mixture_epochs: np.ndarray
  mixtures: Mapping[str, np.ndarray]
  created: str = ""
  command: tuple[str, ...] = ()

  def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns epochs and values [n] of one metric, over the epochs that have it; both are empty if none has."""
    lines = [line for line in self.metrics if name in line]
    return np.array([line["epoch"] for line in lines], int), np.array([line[name] for line in lines], float)


def load_run(folder: str | pathlib.Path) -> Run:
  """Reads a run folder.

  Raises:
    InputError: if the folder or its config.json is missing, or a file does not hold what it should; the message names file and line.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise InputError(f"run folder '{folder}' does not exist; give the folder that a search or a training wrote.")
  if not (folder / "config.json").is_file():
    raise InputError(f"run folder '{folder}' has no config.json; give the folder that a search or a training wrote.")
  header = json_files.read_object(folder / "config.json", _HINT, {"launcher": str, "versions": dict, "config": dict})
  metrics = _by_epoch(folder / "metrics.jsonl")
  for epoch, line in metrics.items():
    for name, value in line.items():
      if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{folder / 'metrics.jsonl'}, epoch {epoch}: '{name}' is {value!r}; give a number.")
  genotypes = _genotypes(folder / "genotypes")
  final = folder / "genotype.json"
  last = genotypes[-1][1] if genotypes else None
  genotype = _architecture(final) if final.is_file() else last
  epochs, mixtures = _mixtures(folder / "architecture.jsonl")
  begun = str(header.get("created", "")), tuple(map(str, header.get("command") or ()))
  recorded = header["launcher"], header["versions"], header["config"]
  return Run(folder, *recorded, tuple(metrics.values()), genotypes, genotype, epochs, mixtures, *begun)


_HINT = "give the file that the launcher wrote"


def _by_epoch(path: pathlib.Path) -> dict[int, dict[str, Any]]:
  """Reads a file of lines with an 'epoch', into rising order; nothing from a missing file."""
  lines = json_files.read_text(path, _HINT).partition("\0")[0].split("\n") if path.is_file() else []  # zeros are left by a power cut
  out = {}
  for number, text in enumerate(lines, 1):
    if not text.strip():
      continue
    try:
      line = json_files.parse_object(text, f"{path}, line {number}", "correct or delete the line")
    except InputError:
      if number == len(lines):  # no newline after it: the run was killed while it wrote
        break
      raise
    epoch = line.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool):
      raise InputError(f"{path}, line {number}: 'epoch' is {epoch!r}; give a whole number.")
    out[epoch] = line
  return dict(sorted(out.items()))


def _genotypes(folder: pathlib.Path) -> tuple[tuple[int, Architecture], ...]:
  out = []
  for path in folder.glob("epoch_*.json"):
    match = re.fullmatch(r"epoch_(\d+)", path.stem)
    if match:
      out.append((int(match[1]), _architecture(path)))
  return tuple(sorted(out, key=lambda pair: pair[0]))


def _architecture(path: pathlib.Path) -> Architecture:
  text = json_files.read_text(path, _HINT)
  return from_json(text) or parse(text, where=str(path))


def _mixtures(path: pathlib.Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  lines = _by_epoch(path)
  stacks: dict[str, list[np.ndarray]] = {}
  for epoch, line in lines.items():
    mixture = line.get("mixture")
    if not isinstance(mixture, dict) or not mixture:
      raise InputError(f"{path}, epoch {epoch}: 'mixture' is {mixture!r}; it maps each cell to its edges x operations weights.")
    for cell, rows in mixture.items():
      try:
        weights = np.array(rows, float)
      except (TypeError, ValueError):
        weights = np.zeros(0)
      if weights.ndim != 2 or (cell in stacks and weights.shape != stacks[cell][0].shape):
        raise InputError(f"{path}, epoch {epoch}, cell '{cell}': the weights do not have the shape of other epochs; delete the line.")
      stacks.setdefault(cell, []).append(weights)
  for cell, stack in stacks.items():
    if len(stack) != len(lines):
      raise InputError(f"{path}: cell '{cell}' has weights in {len(stack)} of {len(lines)} epochs; give every epoch every cell.")
  return np.array(list(lines), int), {cell: np.stack(stack) for cell, stack in stacks.items()}
