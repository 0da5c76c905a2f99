"""Evaluators by one training, which all searches of a seed share: shared weights, a hypernetwork, the supernet of a differentiable search.

The training is a run of its own, in a folder beside those of the methods. It goes on after a kill, as every run does.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dnas.cells.functional import Variables
from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core.space import CellSpace
from dnas.data import datasets
from dnas.evaluate import hypernetwork
from dnas.evaluate.base import TrainedOnce
from dnas.evaluate.weight_sharing import Config as SharedConfig
from dnas.evaluate.weight_sharing import SharedWeightsTask
from dnas.launchers import _flags, _image, _presets, _run, search
from dnas.launchers._comparison_settings import ComparisonSettings, cell_space_of
from dnas.launchers.configs import ImageSearchConfig
from dnas.report.runs import load_run
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.supernet import relaxations
from dnas.supernet.discretize import edges_of


def weight_sharing(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> TrainedOnce:
  """Trains a supernet on random paths, with the sizes and rates of the search that a comparison names."""
  preset = _presets.load(config.search, "search")
  names = [field.name for field in dataclasses.fields(SharedConfig) if hasattr(preset.darts, field.name)]
  rates = SharedConfig(**{name: getattr(preset.darts, name) for name in names})
  space = cell_space_of(config)
  task = SharedWeightsTask(rates, preset.supernet, preset.data, space, datasets.from_config(preset.data), seed)
  return _trained(config, options, folder, seed, task, "weight_sharing", {"shared": rates})


@dataclasses.dataclass(frozen=True)
class Hypernetwork(hypernetwork.Config):
  """A hypernetwork that generates the weights of the supernet of the search that a comparison names, on the data of that search."""

  def __call__(self, config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> TrainedOnce:
    """See `MakeEvaluator`."""
    preset, space = _presets.load(config.search, "search"), cell_space_of(config)
    task = hypernetwork.HypernetworkTask(self, preset.supernet, preset.data, space, datasets.from_config(preset.data), seed)
    return _trained(config, options, folder, seed, task, "hypernetwork", {"hypernetwork": self})


def _folder_of(folder: pathlib.Path, seed: int) -> pathlib.Path:
  """Returns the folder of the training, for the folder METHOD/seed_SEED of a search."""
  return folder.parent.parent / f"supernet_{seed:04d}"


def _trained(
  config: ComparisonSettings,
  options: _flags.Options,
  folder: pathlib.Path,
  seed: int,
  task: SharedWeightsTask | hypernetwork.HypernetworkTask,
  launcher: str,
  settings: Mapping[str, Any],
) -> TrainedOnce:
  """Trains a task to its end, or resumes it. `settings` are those of the training by component."""
  preset, space = _presets.load(config.search, "search"), cell_space_of(config)
  flat: dict[str, Any] = {"seed": seed, "space": config.space}
  if space != SPACES[config.space]:  # the table lacks some operations
    flat["operations"] = ", ".join(space.choices)
  defaults: dict[str, Any] = {}
  for name, component in {**settings, "data": preset.data, "supernet": preset.supernet}.items():
    flat |= {f"{name}.{path}": value for path, value in config_lib.flatten(component).items()}
    defaults |= config_lib.defaults(component, f"{name}.") if name != "shared" else {}
  own = dataclasses.replace(options, workdir=str(_folder_of(folder, seed)))
  what = "shared weights" if launcher == "weight_sharing" else f"a {launcher}"
  about = f"training of {what} in the space {config.space}, seed {seed}: {_run.length_of(task)}"
  with _run.open_folder(own, launcher, flat, _run.Parts({}, about), defaults) as opened:
    position = _run.run(task, opened, own)
  return TrainedOnce(task, position.state.weights, position.seconds, _compilation([record["seconds"] for record in position.history]))


def _compilation(seconds: Sequence[float]) -> float:
  """Returns by how much the first epoch took longer than a later one, from the seconds of a run at the ends of its epochs."""
  later = (seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else seconds[0]
  return max(seconds[0] - later, 0.0)


@dataclasses.dataclass(frozen=True)
class _Searched:
  """The supernet of a differentiable search, at the end of the search, for one-hot paths (`base.Shared`).

  Normalizations take the statistics of their batch, since the running ones are those of the mixture.
  """

  space: CellSpace
  workload: ImageWorkload

  def validate(self, weights: Variables, path: Mapping[str, np.ndarray]) -> dict[str, float]:
    """See `base.Shared`."""
    chosen = relaxations.with_edges(self.space, path, edges_of(self.space, path), relaxations.everything(self.space))
    return self.workload.evaluate(weights, jax.tree.map(np.asarray, dict(chosen)), batch_statistics=True)


def supernet(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> TrainedOnce:
  """Runs the differentiable search that a comparison names."""
  preset = _presets.load(config.search, "search")
  left_out = ",".join(name for name in SPACES[config.space].operations if name not in cell_space_of(config).operations)
  searched: ImageSearchConfig = config_lib.replace(preset, {"space": config.space, "without": left_out or preset.without, "seed": seed})
  path = _folder_of(folder, seed)
  search.run(searched, dataclasses.replace(options, workdir=str(path), preset=""), set())
  workload, state = _image.end_of_search(searched, path)
  seconds = [line["seconds"] for line in load_run(path).metrics]
  variables = Variables(state.search.weights, state.search.stats)
  return TrainedOnce(_Searched(workload.space, workload), variables, seconds[-1], _compilation(seconds))
