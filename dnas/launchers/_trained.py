"""Finished trainings, read back from their folders alone."""

import dataclasses
import functools
import os
import pathlib
from typing import Any, NamedTuple

import jax

from dnas.cells import functional
from dnas.cells.registries import CHAIN_SPACES, SPACES, any_space
from dnas.core import config as config_lib
from dnas.core import json_files, keys
from dnas.core.errors import InputError, shown
from dnas.core.genotype import Genotype
from dnas.core.paths import expanded
from dnas.data import datasets
from dnas.data.about import About
from dnas.data.text import Vocabulary
from dnas.launchers import _language
from dnas.launchers.configs import NASBENCH201_TRAIN, ImageTrainConfig, LanguageTrainConfig, is_of_text
from dnas.nets import of_genotype
from dnas.nets.models import LANGUAGE_MODELS
from dnas.report import runs
from dnas.run.checkpoint import Checkpoints
from dnas.train import images
from dnas.train.classifier import ImageClassifier
from dnas.train.text_model import TextModel

ABOUT, VOCABULARY = "data.json", "vocabulary.txt"
"""Files of a run folder: what a classifier must know of its data, and the words of a language model."""


AnyConfig = ImageTrainConfig | LanguageTrainConfig


class Trained(NamedTuple):
  """A finished training.

  Attributes:
    folder: its folder.
    config: its configuration.
    genotype: its architecture; None for a human-designed network.
    model: the network with its final weights, on text those with the lowest validation loss.
  """

  folder: pathlib.Path
  config: AnyConfig
  genotype: Genotype | None
  model: ImageClassifier | TextModel


def load_run(folder: str | os.PathLike[str]) -> ImageClassifier | TextModel:
  """Returns the network of a finished training, to be used on other images or text. Its data set is not needed.

  Args:
    folder: the folder that `dnas train` or `run_training` wrote. If the network has units of your own, import these before.

  Returns:
    An `ImageClassifier`, or a `TextModel` for a training on text. A folder of an earlier version names no classes, so its data set is read.

  Raises:
    InputError: if the folder is not that of a finished training, or has lost its checkpoints.
  """
  if not isinstance(folder, str | os.PathLike):
    raise InputError(f"folder is {shown(folder)}; give the folder of a training, for instance 'runs/first_retrained'.")
  return load(expanded("folder", os.fspath(folder))).model


def load_flag(text: str) -> Trained:
  """Returns the finished training that the flag --run names. Raises InputError as `load_run` does."""
  if not text.strip():
    raise InputError("--run is empty; give the folder of a finished training, for instance --run=runs/first_retrained.")
  return load(expanded("--run", text))


def load(folder: pathlib.Path) -> Trained:
  """Returns a finished training. Raises InputError as `load_run` does."""
  run = runs.load_run(folder)
  if run.launcher != "train":
    hint = f"train what it found: dnas train --genotype={folder} ..., and give that folder" if run.launcher == "search" else "give one"
    raise InputError(f"{folder} is the folder of a run of '{run.launcher}' and not of a training; {hint}.")
  if json_files.read_result(folder, {}) is None:
    raise InputError(f"the training in {folder} has not ended, as it has no result.json; give its command again and wait for its end.")
  config = config_of(run)
  genotype = None if config.model else _genotype_of(run)
  make = _text_model if isinstance(config, LanguageTrainConfig) else _classifier
  return Trained(folder, config, genotype, make(folder, config, genotype))  # pyright: ignore[reportArgumentType]


def config_of(run: runs.Run) -> AnyConfig:
  """Returns the configuration of a training. Raises InputError for an invalid value in its folder, such as an unknown unit."""
  space = run.config.get("space", "")
  of_text = run.config.get("model") in LANGUAGE_MODELS or is_of_text(space)
  base = config_lib.with_units(LanguageTrainConfig() if of_text else NASBENCH201_TRAIN if space == "nasbench201" else ImageTrainConfig())
  written = {**config_lib.defaults(base), **run.config}
  known = config_lib.flatten(base)
  try:
    return config_lib.replace(base, {path: written[path] for path in known if path in written})
  except InputError as e:
    raise InputError(f"{run.folder / 'config.json'} cannot be used ({str(e).rstrip('.')}); {_UNITS}.") from None


def builder(config: ImageTrainConfig, genotype: Genotype | None) -> images.Build:
  """Returns the function that builds the network of a genotype, or the configured model where there is none."""
  return config.make_model().build if genotype is None else functools.partial(of_genotype.build, config.network, genotype)


def _genotype_of(run: runs.Run) -> Genotype:
  if run.genotype is None:
    raise InputError(f"{run.folder} holds no genotype.json, though its training has ended; give its command again, which writes it.")
  if run.genotype.space not in SPACES and run.genotype.space not in CHAIN_SPACES:
    raise InputError(f"{run.folder}: its space '{run.genotype.space}' is unknown; {_UNITS}.")
  return any_space(run.genotype.space).validate(run.genotype, where=str(run.folder / "genotype.json"))


def _classifier(folder: pathlib.Path, config: ImageTrainConfig, genotype: Genotype | None) -> ImageClassifier:
  about = _about(folder, config)
  module: Any = builder(config, genotype)(about.image_shape, len(about.class_names), keys.generator(config.seed, "weights"))
  network, variables = functional.split(module)
  return ImageClassifier(network, _restored(folder, variables), about, config.data.standardize_images)


def _about(folder: pathlib.Path, config: ImageTrainConfig) -> About:
  path = folder / ABOUT
  if not path.is_file():
    return About.of(datasets.from_config(config.data))
  return About.from_values(json_files.read_object(path, _HINT), str(path))


def _text_model(folder: pathlib.Path, config: LanguageTrainConfig, genotype: Genotype | None) -> TextModel:
  vocabulary = Vocabulary.from_text(json_files.read_text(folder / VOCABULARY, _HINT))
  module: Any = _language.network_of(config, genotype, len(vocabulary))
  _, variables = functional.split(module)
  return TextModel(module, functional.Variables(_restored(folder, _Best(variables.weights)).best, {}), vocabulary, config.data)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["best"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class _Best:
  """The part of `language.TrainState` that is used."""

  best: Any


def _restored(folder: pathlib.Path, like: Any) -> Any:
  """Returns the part of the last state of a training that `like` has. Raises InputError if there is no checkpoint."""
  path = folder / "checkpoints"
  if not path.is_dir() or not any(name.name.isdecimal() for name in path.iterdir()):
    raise InputError(f"{folder} holds no checkpoint; give a folder that still has its checkpoints.")
  with Checkpoints(path) as checkpoints:
    found = checkpoints.restore(like, part=True)
  assert found is not None  # there is a checkpoint
  return found.state


_HINT = "restore the file that the launcher wrote"
_UNITS = "if it has units of your own, import them first, or give --imports"
