"""Searches for an architecture with a differentiable method, on images or on text.

  dnas search --preset=digits_demo --workdir=runs/first
  dnas search --preset=text_demo --workdir=runs/first_text
  dnas train --preset=digits_demo_retrain --genotype=runs/first --workdir=runs/again

The folder --workdir holds the genotype of every epoch, the final genotype (genotype.json), metrics, checkpoints and pictures. The same
command again resumes a run that was stopped or killed. The last line that a search prints is the command that retrains the found cell. The
third example is such a command. With --num_seeds=4 four searches run at once, each in a folder of its own within --workdir.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnas.cells.registries import AUXILIARY_SIDES, STACKS
from dnas.core import config as config_lib
from dnas.core.records import BY_CLASS, SearchResult
from dnas.data import datasets
from dnas.launchers import _commands, _flags, _image, _language, _output, _pages, _plan, _presets, _run, _seeds, train
from dnas.launchers.configs import NASBENCH201_SEARCH, ImageSearchConfig, ImageTrainConfig, LanguageSearchConfig, LanguageTrainConfig
from dnas.report.plots import save_pictures
from dnas.run.loop import HistoryRecord
from dnas.run.run_folder import RunFolder
from dnas.search.gradient import darts, diagnostics
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.seeds import SeedsTask

Config = ImageSearchConfig | LanguageSearchConfig


def run(config: Config, options: _flags.Options, given: set[str]) -> list[SearchResult]:
  """Runs or resumes a search, prints and draws the genotype that it found, and returns the result of every seed; of a dry run none."""
  _flags.refuse_idle(config, given)
  if not options.dry_run:
    _flags.require_workdir(options)
  _run.prepare(options)
  if isinstance(config, LanguageSearchConfig):
    parts = _language.search_parts(config, options.force)
  else:
    parts = _image.search_parts(config, options.force)
  task = config.task(parts.workload, config.seed, parts.start, parts.limit)
  several = f", {config.num_seeds} searches at once" if config.num_seeds > 1 else ""
  how = f"{config.method} ({config.hypergradient_name}) in the space {config.space}"
  what = f"search by {how}: {_run.length_of(task)}{several}"
  if options.dry_run:
    _plan.tell_search(what, task, parts, config.num_seeds)
    return []
  with _run.open_folder(options, "search", config.recorded(), parts, config_lib.defaults(config), _run.VOLATILE, what) as folder:
    if config.num_seeds == 1:
      position = _run.run(task, folder, options, task.stops)
      return [_finish(task, position.history, folder, config, options)]
    return _run_seeds(task, parts, folder, config, options)


def _run_seeds(
  task: darts.DartsTask, parts: _run.SearchParts, folder: RunFolder, config: Config, options: _flags.Options
) -> list[SearchResult]:
  configs = _seeds.configs_of(config)
  others = [task.reseeded(one.seed, parts.restart and parts.restart(one)) for one in configs[1:]]
  together = SeedsTask([task, *others])
  with _seeds.SeedFolders.open(folder, configs, parts.kept, together, options) as folders:
    position = _run.run(together, folders, options, together.stops)
    results = []
    for index, (alone, one) in enumerate(zip(together.tasks, configs, strict=True)):
      print(f"\nseed {one.seed}:")
      history = together.history(index, position.history)
      results.append(_finish(alone, history, folders.folders[index], one, options, f"/seed_{one.seed:04d}"))
    names = [name for name in results[0].metrics if name.startswith("valid/")]
    values = {name: [result.metrics[name] for result in results] for name in names}
    spread = {name: {"mean": float(np.mean(one)), "standard_deviation": float(np.std(one, ddof=1))} for name, one in values.items()}
    folder.write_result({"seeds": [one.seed for one in configs], "seconds": results[0].cost, **spread})
    print()
    for name in [name for name in names if BY_CLASS not in name]:
      one = spread[name]
      print(f"{name} over {len(results)} seeds: {one['mean']:.4g} ± {one['standard_deviation']:.2g} (mean, standard deviation)")
    _pages.save_or_warn(folder.path, LAUNCHER)
  return results


def _finish(
  task: darts.DartsTask, history: list[HistoryRecord], folder: RunFolder, config: Config, options: _flags.Options, place: str = ""
) -> SearchResult:
  """Writes, draws and prints what a search ended in; `place` is its folder within the run's."""
  result = task.result(history)
  text, notation = result.genotype.to_json(), task.space.notation(result.genotype)
  folder.write_genotype(text)
  costs = task.workload.costs(result.genotype)
  counted = dataclasses.asdict(costs)
  warnings = [one for one in (diagnostics.collapse(task.space, result.genotype), diagnostics.undecided(result.metrics)) if one]
  workload = task.workload
  recipe = _recipe(config, workload.examples, workload.image_shape) if isinstance(workload, ImageWorkload) else _recipe(config)
  found = {"genotype": json.loads(text), "notation": notation, "seconds": result.cost, **result.metrics, **counted}
  folder.write_result({**found, "warnings": warnings, "retraining": recipe})
  pictures = _output.drawn(lambda: save_pictures(folder.path, task.space))
  if task.stops(history):
    print(f"\nstopped early after epoch {len(history)}: the dominant eigenvalue has grown")
  for warning in warnings:
    print(f"\nwarning: {warning}")
  print(f"\nfound: {notation}\nits network of the size of the supernet: {costs}")
  if isinstance(config, ImageSearchConfig) and config.cost.active:
    print(config.cost.said(result.metrics))
  if pictures:
    print(f"pictures: {folder.path / 'pictures'}")
  _pages.save_or_warn(folder.path, LAUNCHER)
  print(f"retrain it: {_retraining(recipe, options.workdir.rstrip('/'), place)}")
  return result


_SAME_DATA = (
  *("dataset", "data_dir", "image_size", "centre_crop", "stream", "test_portion", "test_seed", "valid_portion", "examples", "split"),
  *("split_seed", "class_weights", "level", "tokens"),
)
"""Fields of the data, of images or text, that a retraining takes from the search; the others belong to its recipe."""


def _retraining(recipe: Mapping[str, Any], workdir: str, place: str) -> str:
  """Returns the command that retrains what was found.

  Args:
    recipe: the flags of the training.
    workdir: the folder of the search.
    place: the folder of one of its seeds within that.
  """
  folders = {"genotype": workdir + place, "workdir": f"{workdir}{place.replace('/', '_')}_retrained"}
  return _commands.command("train", {**recipe, **folders})


def _recipe(config: Config, images: tuple[int, int] | None = None, shape: tuple[int, ...] = (32, 32)) -> dict[str, Any]:
  """Returns the flags of a training of what was found, on the same data: by a preset for this data set, if possible for this space too.

  Args:
    config: the search.
    images: the numbers of images that trained the weights and the architecture; None for a search on text.
    shape: what the shape of an image begins with: H, W.
  """
  of_text = isinstance(config, LanguageSearchConfig)
  trainings = {name: _presets.load(name, "train") for name in _presets.names_for("train")}
  presets = {name: one for name, one in trainings.items() if not one.model}
  same_data = [name for name, one in presets.items() if _is_of(one, config)]
  fitting = [name for name in same_data if of_text or _stack_of(presets[name].space) is STACKS[config.space]]
  fitting.sort(key=lambda name: presets[name].space != config.space)
  recipe = {"preset": fitting[0]} if fitting else {"space": config.space}
  base = presets[fitting[0]] if fitting else train.BY_SPACE.get(config.space, LanguageTrainConfig() if of_text else ImageTrainConfig())
  values = {name: getattr(config.data, name) for name in _SAME_DATA if hasattr(config.data, name)}
  data = {f"data.{name}": value for name, value in values.items() if value != getattr(base.data, name)}
  if images and isinstance(config, ImageSearchConfig) and isinstance(base, ImageTrainConfig):
    trained = images[0] if datasets.validates_itself(config.data) else math.floor(base.data.train_portion * sum(images))
    data |= {} if base.data.batch_size <= trained else {"data.batch_size": min(config.data.batch_size, trained)}
    least, most = AUXILIARY_SIDES[base.network.stem]
    fits = least <= min(shape[:2]) and max(shape[:2]) <= most
    data |= {} if fits or not base.network.auxiliary else {"network.auxiliary": False}
  return recipe | data


def _stack_of(space: str) -> Any:
  """Returns the class that stacks the cells of a space; None for a space of chains."""
  return STACKS[space] if space in STACKS else None


def _is_of(training: Any, config: Config) -> bool:
  """Returns whether a training is of the same data set, and on images of networks with the same stem."""
  if type(training.data) is not type(config.data) or training.data.dataset != config.data.dataset:
    return False
  return isinstance(config, LanguageSearchConfig) or training.network.stem == config.supernet.stem


BY_SPACE = {"darts_recurrent": LanguageSearchConfig(), "nasbench201": NASBENCH201_SEARCH}
LAUNCHER = _flags.Launcher("search", ImageSearchConfig(), run, __doc__, BY_SPACE, option_names=_flags.ALL_OPTIONS)
main = LAUNCHER.main
