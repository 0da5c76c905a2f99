"""Searches for an architecture.

  dnas search --preset=digits_demo --workdir=runs/first
  dnas search --preset=text_demo --workdir=runs/first_text

The run's folder then holds the genotype of every epoch, the final one (genotype.json), metrics, checkpoints and pictures. The same
command again resumes a run that was stopped or killed. `dnas train --genotype=runs/first` retrains what was found. With
--num_seeds=4 four searches run at once, each in a folder of its own within that folder.
"""

import json

import jax
import numpy as np

from dnas.core import config as config_lib
from dnas.core.errors import FieldError
from dnas.core.records import BY_CLASS, SearchResult
from dnas.launchers import _flags, _image, _language, _output, _run, _seeds
from dnas.launchers.configs import NASBENCH201_SEARCH, ImageSearchConfig, LanguageSearchConfig
from dnas.report.plots import save_pictures
from dnas.run.loop import EpochRecord
from dnas.run.run_folder import RunFolder
from dnas.search.gradient import darts, diagnostics
from dnas.search.gradient.seeds import SeedsTask

Config = ImageSearchConfig | LanguageSearchConfig


def run(config: Config, options: _flags.Options, given: set[str]) -> list[SearchResult]:
  """Runs or resumes a search, prints and draws the genotype that it found, and returns the result of every seed."""
  for path in sorted(given):
    if reason := config.idle(path):
      raise FieldError(path, config_lib.flatten(config)[path], reason)
  _flags.require_workdir(options)
  _run.prepare(options)
  parts = (_language if isinstance(config, LanguageSearchConfig) else _image).search_parts(config, options.force)
  estimator, method, key = config.make_hypergradient(), config.make_method(), jax.random.key(config.seed)
  task = darts.DartsTask(config.darts, parts.workload, estimator, key, method, config.remedies, parts.start)
  with _run.open_folder(options, "search", config.recorded(), parts, config_lib.defaults(config)) as folder:
    several = f", {config.num_seeds} searches at once" if config.num_seeds > 1 else ""
    what = f"{config.method} ({config.hypergradient_name}) in the space {config.space}"
    print(f"search by {what}: {_run.length_of(task)}{several}", flush=True)
    if config.num_seeds == 1:
      position = _run.run(task, folder, options, task.stops)
      return [_finish(task, position.history, folder, config, options)]
    return _run_seeds(task, parts, folder, config, options)


def _run_seeds(
  task: darts.DartsTask, parts: _run.SearchParts, folder: RunFolder, config: Config, options: _flags.Options
) -> list[SearchResult]:
  configs = _seeds.configs_of(config)
  others = [task.reseeded(one.seed, parts.restart and parts.restart(one)) for one in configs[1:]]
  task = SeedsTask([task, *others])
  with _seeds.SeedFolders.open(folder, configs, parts.kept, task) as folders:
    position = _run.run(task, folders, options, task.stops)
    results = []
    for index, (alone, one) in enumerate(zip(task.tasks, configs, strict=True)):
      print(f"\nseed {one.seed}:")
      history = task.history(index, position.history)
      results.append(_finish(alone, history, folders.folders[index], one, options, f"/seed_{one.seed:04d}"))
    names = [name for name in results[0].metrics if name.startswith("valid/")]
    values = {name: [result.metrics[name] for result in results] for name in names}
    spread = {name: {"mean": float(np.mean(one)), "standard_deviation": float(np.std(one, ddof=1))} for name, one in values.items()}
    folder.write_result({"seeds": [one.seed for one in configs], "seconds": results[0].cost, **spread})
    print()
    for name in [name for name in names if BY_CLASS not in name]:
      one = spread[name]
      print(f"{name} over {len(results)} seeds: {one['mean']:.4g} ± {one['standard_deviation']:.2g} (mean, standard deviation)")
  return results


def _finish(
  task: darts.DartsTask, history: list[EpochRecord], folder: RunFolder, config: Config, options: _flags.Options, place: str = ""
) -> SearchResult:
  """Writes, draws and prints what a search ended in; `place` is its folder within the run's."""
  result = task.result(history)
  text, notation = result.genotype.to_json(), task.space.notation(result.genotype)
  folder.write_genotype(text)
  folder.write_result({"genotype": json.loads(text), "notation": notation, "seconds": result.cost, **result.metrics})
  pictures = _output.drawn(lambda: save_pictures(folder.path, task.space))
  if task.stops(history):
    print(f"\nstopped early after epoch {len(history)}: the dominant eigenvalue has grown")
  for warning in (diagnostics.collapse(task.space, result.genotype), diagnostics.undecided(result.metrics)):
    if warning:
      print(f"\nwarning: {warning}")
  print(f"\nfound: {notation}")
  if pictures:
    print(f"pictures: {folder.path / 'pictures'}")
  retraining = f"{options.preset}_retrain"
  recipe = {"preset": retraining} if retraining in _flags.preset_names() else {"space": config.space}
  retrain = recipe | {"genotype": f"{options.workdir.rstrip('/')}{place}", "workdir": "FOLDER"}
  print(f"retrain it: {_flags.command('train', retrain)}")
  return result


BY_SPACE = {"darts_recurrent": LanguageSearchConfig(), "nasbench201": NASBENCH201_SEARCH}
LAUNCHER = _flags.Launcher("search", ImageSearchConfig(), run, __doc__, BY_SPACE)
main = LAUNCHER.main
