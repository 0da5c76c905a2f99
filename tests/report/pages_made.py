"""Folders of comparisons and tunings to make pages of, made up but shaped as the launchers write them; and how pages are read."""

import json
import pathlib
import re
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects

VERSIONS = {"dnas": "0.3.0", "python": "3.13.0", "jax": "0.12", "platform": "cpu", "device": "cpu"}
SHARED = {"space": "nasbench201", "evaluator": "tabular", "table": "digits_bench", "dataset": "digits", "objectives": "accuracy,weights"}
SHARED |= {"epochs": 12, "report_epochs": 12, "training": "", "train_portion": 0.5, "seconds": 20.0}


def comparison(root: pathlib.Path, methods: tuple[str, ...] = ("random_search", "tpe"), seeds: int = 3, **changes: Any) -> pathlib.Path:
  """Writes the searches of a comparison; `changes` are flags that all of them share."""
  shared = SHARED | changes
  for number, method in enumerate(methods):
    for seed in range(seeds):
      rng = np.random.default_rng(10 * number + seed)
      folder = root / str(shared["space"]) / str(shared["evaluator"]) / method / f"seed_{seed:04d}"
      folder.mkdir(parents=True)
      config = {"method": method, "seed": seed, **shared}
      write(folder / "config.json", {"launcher": "compare", "versions": VERSIONS, "command": ["dnas", "compare"], "config": config})
      scores, costs, weights = rng.uniform(50, 95, 6).round(2), rng.uniform(1, 4, 6).round(3), rng.integers(1000, 9000, 6)
      lines = [{"score": scores[i], "cost": costs[i], "budget": None, "metrics": {"weights": float(weights[i])}} for i in range(6)]
      (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
      best = [i for i in range(6) if scores[i] == max(scores[: i + 1])]
      rows = [[float(costs[: i + 1].sum()), scores[i], scores[i] - 3] for i in best]
      front = [{"notation": f"cell {seed}", "score": scores[best[-1]], "costs": {"weights": float(weights[best[-1]])}, "test": None}]
      found = {"valid": scores[best[-1]], "test": scores[best[-1]] - 3, "seconds": float(costs.sum()), "incumbents": rows, "front": front}
      write(folder / "result.json", {"method": method, "seed": seed, **found})
  return root


def edit(folder: pathlib.Path, **parts: Any) -> None:
  """Changes parts of a config.json."""
  header = json.loads((folder / "config.json").read_text())
  write(folder / "config.json", header | {name: {**header[name], **part} for name, part in parts.items()})


def tuning(folder: pathlib.Path) -> pathlib.Path:
  """Writes a tuning of four trials, one of them pruned and one failed, with a name that HTML would take for an element."""
  folder.mkdir(parents=True)
  config = {"study.objectives": "accuracy", "study.sampler": "tpe", "training.model": "resnet", "training.data.dataset": "digits"}
  write(folder / "config.json", {"launcher": "tune", "versions": VERSIONS, "config": config | {"training.train.epochs": 8}})
  trials: list[dict[str, Any]] = []
  for number, (state, value) in enumerate([("complete", 0.9), ("pruned", 0.5), ("fail", None), ("complete", 0.95)]):
    point = {"train.learning_rate": 0.001 * 9.0**number, "train.schedule": ("cosine", "linear")[number % 2], "resnet.depth": 8 + 6 * number}
    values = None if value is None else [value]
    trials.append({"number": number, "state": state, "values": values, "point": [point, []], "epochs": 8, "seconds": 1.5, "weights": 1234})
  trials[2]["error"] = "<img src=x onerror=alert(1)>"
  write(folder / "trials.json", trials)
  write(folder / "result.json", {"best": trials[3], "trials": 4, "epochs": 32, "command": "dnas train --model=resnet"})
  return folder


def write(path: pathlib.Path, value: Any) -> None:
  path.write_text(json.dumps(value))


def data_of(text: str) -> dict[str, Any]:
  """The data in a page."""
  (data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
  return json.loads(data)


def words_of(text: str) -> str:
  """What a person reads of a page."""
  return unescape(re.sub("<[^>]+>", " ", text.partition("<body>")[2].partition('<script type="application/json"')[0]))


def check_figures(figures: list[Any]) -> int:
  """Plotly takes every figure, where the names of colours stand for colours. Returns how many there are."""
  for figure in figures:
    named = json.loads(re.sub(r'"--[a-z]+(-[a-z0-9]+)*"', '"#123456"', json.dumps(figure)))
    plotly.graph_objects.Figure(named)
  return len(figures)
