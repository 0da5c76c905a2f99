"""Builds the workload of a search on text, and the training of a language model, from the configuration of a launcher."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dnas.cells import sizes
from dnas.cells.language_model import Config
from dnas.cells.registries import LANGUAGE_GENOTYPES
from dnas.core import config as config_lib
from dnas.core import devices, keys, memory, tree
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.genotype import Genotype
from dnas.data import datasets, windows
from dnas.data.text import Config as TextConfig
from dnas.data.text import TextDataset
from dnas.launchers._run import SearchParts, TrainParts, read_start
from dnas.launchers.configs import LanguageSearchConfig, LanguageTrainConfig
from dnas.nets.derived_language import derived_language_model
from dnas.nets.models import LanguageNetwork
from dnas.report.runs import load_run
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.train import dynamic_evaluation, language

GENOTYPES = LANGUAGE_GENOTYPES
LOWER = "lower --data.batch_size, --data.eval_batch_size, --data.sequence_length, --data.length_deviation"
"""Which settings need less memory if they are lower."""


def search_parts(config: LanguageSearchConfig, force: bool = False) -> SearchParts:
  """Builds the workload of a search.

  Raises:
    InputError: if a value does not fit the text, or, without `force`, if the search needs more memory than there is.
  """
  dataset = datasets.text_from_config(config.data)
  space, edges = config.searched_space(), config.make_method().edges
  cell = space.num_nodes, len(space.operations)
  estimate = _check_memory(config.supernet, "supernet", config.data, dataset, *cell, config.num_seeds, force)
  workload = LanguageWorkload(config.supernet, config.data, space, dataset, config.seed, config.shared_masks, edges)
  kind = f"supernet: {counted(config.supernet.units, 'unit')}"
  about = _described(dataset, config.data.tokens, kind, tree.size(workload.initial.weights))
  return SearchParts(_kept(dataset), about, estimate, workload=workload)


def train_parts(config: LanguageTrainConfig, genotype: Genotype | None, force: bool = False, begun: bool = False) -> TrainParts:
  """Builds the training of a genotype, or of the configured model where there is none.

  A training that has `begun` goes on from its own checkpoint. So it does without the folder that it started from.

  Raises:
    InputError: if a value does not fit the text, if the weights to start from are not of this network, or, without `force`, if the training
      needs more memory than there is.
  """
  dataset = datasets.text_from_config(config.data)
  if genotype is None:
    kind = config.model
    estimate = _check_memory_of_model(config, dataset, force)
  else:
    nodes, _, _ = sizes.of_genotype([cell for _, cell in genotype.cells])
    estimate = _check_memory(config.network, "network", config.data, dataset, nodes, 1, 1, force)
    kind = f"network: {counted(config.network.units, 'unit')}"
  if config.dynamic_evaluation:
    try:
      dynamic_evaluation.check_fits(config.dynamic, len(dataset.train))
    except FieldError as e:
      raise e.within("dynamic") from None
  network = network_of(config, genotype, len(dataset.vocabulary))
  initial = _best_weights(config, genotype, dataset, begun) if config.start_from else None
  try:
    task = language.RetrainTask(config.train, network, config.data, dataset, config.seed, initial)
  except InputError as e:
    if initial is None or isinstance(e, FieldError):
      raise
    hint = "its weights are of a network with other settings; give this training the same"
    raise FieldError("start_from", config.start_from, hint) from None

  def describe(state: language.TrainState) -> dict[str, float]:
    best = float(state.best_loss)
    epoch = 1 + int(np.argmin(state.losses))
    return dataclasses.asdict(task.costs()) | {"best/epoch": epoch, "best/valid_perplexity": math.exp(best)}

  def tester(state: language.TrainState) -> Callable[[np.ndarray], dict[str, float]]:
    learning = None
    if config.dynamic_evaluation:
      learning = dynamic_evaluation.DynamicEvaluation(config.dynamic, network, state.best, dataset.train)

    def test(tokens: np.ndarray) -> dict[str, float]:
      dynamic = learning(tokens) if learning else {}
      found = task.test(state, tokens) | {f"dynamic_{name}": value for name, value in dynamic.items()}
      return {f"test/{name}": value for name, value in found.items()}

    return test

  about = _described(dataset, config.data.tokens, kind, tree.size(task.init().weights))
  run: dict[str, Any] = {"task": task, "dataset": dataset, "describe": describe, "tester": tester}
  return TrainParts(_kept(dataset), about, estimate, **run, ends=task.stops, grown=language.GROWN)


def network_of(config: LanguageTrainConfig, genotype: Genotype | None, words: int) -> LanguageNetwork:
  """Returns the network of a genotype, or of the configured model where there is none, for a vocabulary of so many words."""
  rng = keys.generator(config.seed, "weights")
  return config.make_model().build(words, rng) if genotype is None else derived_language_model(config.network, genotype, words, rng)


def _best_weights(config: LanguageTrainConfig, genotype: Genotype | None, dataset: TextDataset, begun: bool) -> Any:
  """Reads the best weights of the training in `config.start_from`; None if it is gone and this training has begun.

  Raises:
    FieldError: if it is no finished training of this network.
  """
  run = read_start(config.start_from, begun, load_run)
  if run is None:
    return None
  if run.launcher != "train" or not (run.folder / "result.json").exists():
    raise FieldError("start_from", config.start_from, "give the folder of a finished training on text")
  written = {**config_lib.defaults(config), **run.config}
  try:
    before = config_lib.replace(config, {path: written[path] for path in config_lib.flatten(config) if path in written})
  except InputError:
    before = None
  ours, theirs = ((one.model, one.data.dataset, one.data.level) if one else None for one in (config, before))
  if before is None or ours != theirs or (genotype is not None and run.genotype != genotype):
    raise FieldError("start_from", config.start_from, "it is a training of another network or text; give this training the same")
  task = language.RetrainTask(before.train, network_of(before, genotype, len(dataset.vocabulary)), before.data, dataset, before.seed)
  with Checkpoints(run.folder / "checkpoints") as checkpoints:
    found = checkpoints.restore(task.init())
  if found is None:
    raise FieldError("start_from", config.start_from, "it holds no checkpoint; give a folder that still has its checkpoints")
  return found.state.best


def _check_memory(
  network: Config, component: str, data: TextConfig, dataset: TextDataset, nodes: int, activations: int, seeds: int, force: bool
) -> memory.Estimate:
  """Returns the estimate of a network. Raises InputError if it needs more memory than there is; not with `force`."""
  estimate = sizes.language_model(units=network.units, nodes=nodes, activations=activations, **_windows(data, dataset)).times(seeds)
  memory.check_fits(estimate, f"{LOWER} or --{component}.units", force)
  return estimate


def _check_memory_of_model(config: LanguageTrainConfig, dataset: TextDataset, force: bool) -> memory.Estimate:
  """Returns the estimate of a human-designed network. Raises InputError if it needs more memory than there is; not with `force`."""
  estimate = sizes.matrices(config.make_model().matrices(), **_windows(config.data, dataset))
  memory.check_fits(estimate, f"{LOWER} or the size of the network by the flags --{config.model}.FIELD", force)
  return estimate


def _windows(data: TextConfig, dataset: TextDataset) -> dict[str, int]:
  """Returns the vocabulary and the sizes of the largest windows on one device."""
  return {
    "vocabulary": len(dataset.vocabulary),
    "length": data.sequence_length + round(windows.DEVIATIONS * data.length_deviation),
    "batch": max(min(data.batch_size, len(dataset.train)) // devices.shared_by(), 1),
    "eval_length": data.sequence_length,
    "eval_batch": min(data.eval_batch_size, len(dataset.valid)),
  }


def _kept(dataset: TextDataset) -> dict[str, str]:
  return {"vocabulary.txt": dataset.vocabulary.to_text()}


def _described(dataset: TextDataset, cut: int, network: str, weights: int) -> str:
  """Returns two lines that the launcher prints: one on the text and its unknown words, one on the network."""
  counts = {split: count for split, count in dataset.unknown.items() if split != "train" or not cut}
  unknown = ", ".join(f"{split} {count:,} ({100 * count / len(getattr(dataset, split)):.1f} %)" for split, count in counts.items())
  sizes = f"{len(dataset.train):,} {dataset.level}s to train on and {len(dataset.valid):,} to validate"
  data = f"{dataset.name}: {sizes}, vocabulary {len(dataset.vocabulary):,}; unknown: {unknown}"
  return f"{data}\n{network}, {weights:,} weights"
