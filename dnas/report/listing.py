"""The runs in a folder: what each is, its state, how far it is, and what it ended in."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dnas.core import durable
from dnas.core.errors import counted
from dnas.run.folder_lock import is_in_use
from dnas.run.run_folder import failure

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"

_ABOVE = {"compare": 4, "contest": 3, "evaluators": 2}
"""Kind of many runs to the number of folders between the one of a run and that of all."""
_MANY = {"compare": "comparison", "contest": "contest", "evaluators": "evaluators"}
_KINDS = {"train": "training", "tune": "tuning", "search_network": "search of a network", "network_trials": "trials of a network"}
_EPOCHS = ("darts.epochs", "train.epochs")


@dataclasses.dataclass(frozen=True)
class Listed:
  """One run, or all runs of a comparison, in words.

  Attributes:
    folder: its folder.
    kind: such as 'search' or 'comparison'.
    state: `RUNNING`, `FINISHED`, `FAILED` or `INTERRUPTED`.
    progress: how far it is.
    result: what it ended in, or why it failed; empty if neither is known.
  """

  folder: pathlib.Path
  kind: str
  state: str
  progress: str
  result: str


def find(root: pathlib.Path) -> list[Listed]:
  """Returns the runs in a folder and in those below, by path. A folder that cannot be read counts as empty."""
  groups: dict[tuple[pathlib.Path, str], list[pathlib.Path]] = {}
  singles = []
  for folder, header in _headers(root):
    launcher = str(header.get("launcher"))
    kind = "contest" if launcher == "compare" and "contest" in folder.parts[-3:-2] else launcher
    if kind in _ABOVE and len(folder.parts) > _ABOVE[kind]:
      groups.setdefault((folder.parents[_ABOVE[kind] - 1], kind), []).append(folder)
    else:
      singles.append(_single(folder, kind, header))
  many = [_many(folder, kind, members) for (folder, kind), members in groups.items()]
  return sorted([*singles, *many], key=lambda one: one.folder)


def _headers(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, Mapping[str, Any]]]:
  """Yields folder and config.json of runs that are not parts of others."""
  for path, folders, files in os.walk(root):
    if "config.json" in files:
      header = _read(pathlib.Path(path) / "config.json")
      if "launcher" in header and "config" in header:
        folders.clear()
        yield pathlib.Path(path), header
    folders.sort()


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Returns the object in a file; an empty one where there is none."""
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError):
    return {}
  return value if isinstance(value, dict) else {}


def _state(folder: pathlib.Path) -> str:
  if is_in_use(folder):
    return RUNNING
  if (folder / "result.json").is_file():
    return FINISHED
  return FAILED if failure(folder) else INTERRUPTED


def _single(folder: pathlib.Path, launcher: str, header: Mapping[str, Any]) -> Listed:
  state, result = _state(folder), _read(folder / "result.json")
  kind = _KINDS.get(launcher, launcher)
  seeds = header["config"].get("num_seeds", 1) if isinstance(header["config"], dict) else 1
  if launcher == "search" and isinstance(seeds, int) and seeds > 1 and not folder.name.startswith("seed_"):
    kind = f"search of {seeds} seeds"
  try:
    told = _result(result) if state != FAILED else failure(folder)
  except (LookupError, TypeError, ValueError):
    told = "a result that cannot be read"
  return Listed(folder, kind, state, _progress(folder, launcher, header["config"], result), told)


def _progress(folder: pathlib.Path, launcher: str, config: Any, result: Mapping[str, Any]) -> str:
  if launcher == "tune":
    done = result.get("trials")
    return counted(done if isinstance(done, int) else len([path for path in folder.glob("trials/trial_*") if path.is_dir()]), "trial")
  name, unit = ("journal.jsonl", "trial") if launcher == "network_trials" else ("metrics.jsonl", "epoch")
  done = _lines(folder / name)
  planned = next((config[name] for name in _EPOCHS if name in config), 0) if isinstance(config, dict) and unit == "epoch" else 0
  unfinished = isinstance(planned, int) and done < planned and not result
  return f"{done:,} of {counted(planned, unit)}" if unfinished else counted(done, unit)


def _lines(path: pathlib.Path) -> int:
  try:
    return len(durable.whole_lines(path.read_text(encoding="utf-8", errors="replace")))
  except OSError:
    return 0


def _result(result: Mapping[str, Any]) -> str:
  """Returns the number that a run is judged by, in words."""
  test = result.get("test")
  if isinstance(test, dict) and isinstance(test.get("mean"), float):
    return f"{test.get('measure', 'test')} {test['mean']:.2f} {test.get('unit', '')}".strip()
  for split, told in (("test", "test"), ("valid", "validation")):
    for measure, form in (("accuracy", "{:.2%}"), ("perplexity", "{:.2f}"), ("loss", "{:.4f}")):
      value = result.get(f"{split}/{measure}")
      if isinstance(value, dict):
        value = value.get("mean")
      if isinstance(value, float):
        return f"{told} {measure} {form.format(value)}".replace("%", " %")
  best = result.get("best")
  if isinstance(best, dict) and best.get("values"):
    return f"best value {best['values'][0]:.4g}"
  return f"score {result['score']:.4g}" if isinstance(result.get("score"), float) else ""


def _many(folder: pathlib.Path, kind: str, members: Sequence[pathlib.Path]) -> Listed:
  """Returns all runs of a comparison as one: it is finished when all that were begun have a result."""
  states = [_state(member) for member in members]
  state = next((one for one in (RUNNING, FAILED, INTERRUPTED) if one in states), FINISHED)
  done = states.count(FINISHED)
  of = f"{done:,} of {counted(len(members), 'run')}" if done < len(members) else counted(done, "run")
  names = sorted({member.parent.name for member in members})
  scores: dict[str, list[float]] = {}
  for member in members:
    test = _read(member / "result.json").get("test")
    if isinstance(test, float):
      scores.setdefault(member.parent.name, []).append(test)
  if state == FAILED:
    told = next(failure(member) for member, one in zip(members, states, strict=True) if one == FAILED)
  elif scores and kind in ("compare", "contest"):
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    best = (max if kind == "compare" else min)(means, key=lambda name: means[name])
    measure, unit = ("accuracy", " %") if kind == "compare" else ("error or perplexity", "")
    told = f"best mean test {measure} {means[best]:.2f}{unit}: {best}"
  else:
    told = ", ".join(names)
  return Listed(folder, _MANY[kind], state, of, told)
