"""The points of the NAS best-practice checklist that a comparison meets, as far as its folder says.

The points are those of Lindauer and Hutter, "Best Practices for Scientific Research on Neural Architecture Search" (JMLR 21, 2020), in
other words. Each is decided from what the run folders hold. What no folder can say is called unknown.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dnas.core.errors import counted
from dnas.report.comparison import RANDOM, Comparison

MET, NOT_MET, UNKNOWN = "good", "bad", "unknown"

_HARDWARE = ("platform", "device")


class Point(NamedTuple):
  """One point of the checklist.

  Attributes:
    state: `MET`, `NOT_MET` or `UNKNOWN`.
    asked: what the checklist asks.
    why: what the folder holds of it.
  """

  state: str
  asked: str
  why: str


def points(root: pathlib.Path, comparison: Comparison) -> list[Point]:
  """Returns the points of the checklist, decided for the searches that have ended.

  Args:
    root: the folder of the comparison.
    comparison: the searches.
  """
  headers = _headers(root, comparison)
  return [*_released(headers), *_compared(comparison, headers), *_reported(comparison, headers)]


def _headers(root: pathlib.Path, comparison: Comparison) -> list[Mapping[str, Any]]:
  """Returns config.json of every search that has ended."""
  folder = root / comparison.space / comparison.evaluator
  places = [folder / name / f"seed_{search.seed:04d}" for name, searches in comparison.methods.items() for search in searches]
  return [json.loads((place / "config.json").read_text(encoding="utf-8")) for place in places]


def _released(headers: Sequence[Mapping[str, Any]]) -> list[Point]:
  versions = sorted({str(header.get("versions", {}).get("dnas", "of an unknown version")) for header in headers})
  units = sorted({name for header in headers for name in (header.get("units") or {})})
  code = f"It is dnas {' and '.join(versions)}" + (f", and code of your own in {', '.join(units)}" if units else "")
  seeded = all({"seed", "method"} <= set(header["config"]) for header in headers)
  kept = f"config.json of all {counted(len(headers), 'search', 'searches')} has every setting and the seed"
  hint = "release the folder with the results"
  return [
    Point(UNKNOWN, "Code of the training pipeline, the search space and the methods is released.", f"{code}. No folder knows of releases."),
    Point(
      MET if seeded else NOT_MET,
      "Hyperparameters and seeds of methods and of the final evaluation are there to release.",
      f"{kept}; {hint}." if seeded else "A config.json lacks the method or the seed.",
    ),
  ]


def _compared(comparison: Comparison, headers: Sequence[Mapping[str, Any]]) -> list[Point]:
  config, table = comparison.config, _table_of(comparison)
  runs = {name: len(searches) for name, searches in comparison.methods.items()}
  fewest, all_methods = min(runs.values()), counted(len(runs), "method")
  data = config.get("dataset") if table or not config.get("training") else f"that of the preset {config['training']}"
  single = [name for name, searches in comparison.methods.items() if all(len(search.scores) == 1 for search in searches)]
  timed = "incumbents of every search are kept with their seconds, and drawn over time"
  once = f"; {', '.join(single)} {'is' if len(single) == 1 else 'are'} judged once, at the end" if single else ""
  seeds = sorted({search.seed for searches in comparison.methods.values() for search in searches})
  ablations = _ablations(headers)
  unfinished = f" {counted(len(comparison.incomplete), 'search', 'searches')} had not ended." if comparison.incomplete else ""
  return [
    Point(
      MET,
      "All methods use the same benchmark: data, split, search space, training code and its hyperparameters.",
      f"All searches agree in every shared flag: the space {comparison.space}, the evaluator {comparison.evaluator}, data {data}.",
    ),
    _confounders(comparison, headers),
    Point(
      MET if ablations else NOT_MET,
      "There are ablation studies.",
      f"{'; '.join(ablations)}." if ablations else "No two methods here are one method with different settings.",
    ),
    Point(
      MET,
      "All methods are evaluated by the same protocol.",
      f"{comparison.evaluator} scores every architecture"
      + (f" after {config.get('epochs')} epochs, and the test accuracy is that after {config.get('report_epochs')}" if table else "")
      + "; the test accuracy is read after the search.",
    ),
    Point(
      MET if len(single) < len(runs) else NOT_MET,
      "Performance is compared over time.",
      f"{timed[0].upper()}{timed[1:]}{once}.",
    ),
    Point(
      MET if RANDOM in runs else NOT_MET,
      "There is a comparison with random search.",
      f"{RANDOM} has {counted(runs[RANDOM], 'search', 'searches')}." if RANDOM in runs else f"Add {RANDOM} to --methods.",
    ),
    Point(
      MET if fewest > 1 else NOT_MET,
      "Experiments are repeated, and seeds reported.",
      f"{all_methods}, each with {fewest}{'' if fewest == max(runs.values()) else ' or more'} of the seeds {_ranged(seeds)}.{unfinished}",
    ),
    Point(
      MET if table else NOT_MET,
      "Tabular or surrogate benchmarks allow evaluations in depth.",
      f"The table is {table}." if table else _no_table(comparison),
    ),
  ]


def _table_of(comparison: Comparison) -> str:
  """Returns the table of real trainings that scores architectures; an empty text if there is none."""
  table = str(comparison.config.get("table", ""))
  return table if comparison.evaluator == "tabular" and table != "synthetic" else ""


def _no_table(comparison: Comparison) -> str:
  planted = comparison.evaluator == "tabular"
  return "The table is planted, so nothing here is a measurement." if planted else f"{comparison.evaluator} looks nothing up."


def _confounders(comparison: Comparison, headers: Sequence[Mapping[str, Any]]) -> Point:
  asked = "Confounding factors are controlled: hardware, versions of libraries, run times."
  names = list(dict.fromkeys(name for header in headers for name in header.get("versions", {})))
  values = {name: sorted({str(header.get("versions", {}).get(name, "unknown")) for header in headers}) for name in names}
  different = {name: found for name, found in values.items() if len(found) > 1}
  if different or not names:
    told = "; ".join(f"{name}: {' and '.join(found)}" for name, found in different.items()) or "no versions are recorded"
    return Point(NOT_MET, asked, f"Searches differ in what may change results: {told}.")
  device = " ".join(dict.fromkeys(values[name][0] for name in _HARDWARE if name in values))
  same = f"All searches had the same versions and the same kind of device ({device})"
  looked_up = bool(_table_of(comparison))
  measured = [name for name, own in comparison.methods.items() if not looked_up or any(len(one.scores) == 1 for one in own)]
  if measured:
    told = "seconds" if len(measured) == len(comparison.methods) else f"seconds of {', '.join(measured)}"
    return Point(UNKNOWN, asked, f"{same}. But {told} are measured, and what else ran on the machine is not recorded.")
  return Point(MET, asked, f"{same}. Seconds come from the table, so the load of the machine changes none.")


def _ablations(headers: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns sentences on methods that are one differentiable method with different settings."""
  settings: dict[str, dict[str, Any]] = {}
  for header in headers:
    name = str(header["config"].get("method"))
    own = {path.removeprefix(f"{name}."): value for path, value in header["config"].items() if path.startswith(f"{name}.")}
    settings.setdefault(name, {path: value for path, value in own.items() if path != "seed"})
  kinds = {name: own["method"] for name, own in settings.items() if "method" in own}
  out = []
  for kind in dict.fromkeys(kinds.values()):
    variants = [name for name, one in kinds.items() if one == kind]
    if len(variants) > 1:
      every = sorted({path for name in variants for path in settings[name]})
      paths = [path for path in every if len({str(settings[name].get(path)) for name in variants}) > 1]
      out.append(f"{', '.join(variants)} differ in {', '.join(paths[:6])}{' and more' if len(paths) > 6 else ''} alone")
  return out


def _ranged(seeds: Sequence[int]) -> str:
  whole = list(range(seeds[0], seeds[-1] + 1)) == list(seeds)
  return f"{seeds[0]} to {seeds[-1]}" if whole and len(seeds) > 1 else ", ".join(map(str, seeds))


def _reported(comparison: Comparison, headers: Sequence[Mapping[str, Any]]) -> list[Point]:
  total = float(np.sum([search.seconds for searches in comparison.methods.values() for search in searches]))
  complete = all(header.get("versions") and header.get("command") and header.get("config") for header in headers)
  return [
    Point(
      UNKNOWN,
      "It is reported how hyperparameters were tuned, and what that cost.",
      "The folder has the settings of every method, not how they were found.",
    ),
    Point(
      NOT_MET,
      "The time of the whole method is reported, from end to end.",
      f"The folder has the accelerator seconds of the searches, {total:,.0f} in all. The final training of what they found is not in them.",
    ),
    Point(
      MET if complete else NOT_MET,
      "All details of the setup are reported.",
      "Every search has its command, settings, versions and device in config.json."
      if complete
      else "A config.json lacks the command, the settings or the versions.",
    ),
  ]
