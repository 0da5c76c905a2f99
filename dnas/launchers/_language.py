"""Builds the workload of a search on text, and the training of a genotype on text, from the configuration of a launcher."""

import math

import numpy as np

from dnas.cells import sizes
from dnas.cells.language_model import Config
from dnas.cells.registries import LANGUAGE_GENOTYPES
from dnas.core import devices, keys, memory, tree
from dnas.core.errors import counted
from dnas.core.genotype import Genotype
from dnas.data import datasets, windows
from dnas.data.text import Config as TextConfig
from dnas.data.text import TextDataset
from dnas.launchers._run import SearchParts, TrainParts
from dnas.launchers.configs import LanguageSearchConfig, LanguageTrainConfig
from dnas.nets.derived_language import derived_language_model
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.train import language

GENOTYPES = LANGUAGE_GENOTYPES


def search_parts(config: LanguageSearchConfig, force: bool = False) -> SearchParts:
  """Builds the workload of a search.

  Raises:
    InputError: if a value does not fit the text, or, without `force`, if the search needs more memory than there is.
  """
  dataset = datasets.text_from_config(config.data)
  space, edges = config.searched_space(), config.make_method().edges
  _check_memory(config.supernet, "supernet", config.data, dataset, space.num_nodes, len(space.operations), config.num_seeds, force)
  workload = LanguageWorkload(config.supernet, config.data, space, dataset, config.seed, config.shared_masks, edges)
  about = _described(dataset, config.data.tokens, "supernet", config.supernet, tree.size(workload.initial.weights))
  return SearchParts(_kept(dataset), about, workload)


def train_parts(config: LanguageTrainConfig, genotype: Genotype, force: bool = False) -> TrainParts:
  """Builds the training of a genotype.

  Raises:
    InputError: if a value does not fit the text, or, without `force`, if the training needs more memory than there is.
  """
  dataset = datasets.text_from_config(config.data)
  nodes, _, _ = sizes.of_genotype([cell for _, cell in genotype.cells])
  _check_memory(config.network, "network", config.data, dataset, nodes, 1, 1, force)
  network = derived_language_model(config.network, genotype, len(dataset.vocabulary), keys.generator(config.seed, "weights"))
  task = language.RetrainTask(config.train, network, config.data, dataset, config.seed)

  def describe(state: language.TrainState) -> dict[str, float]:
    best = float(state.best_loss)
    return {"weights": tree.size(state.weights), "best/epoch": 1 + int(np.argmin(state.losses)), "best/valid_perplexity": math.exp(best)}

  def test(state: language.TrainState, tokens: np.ndarray) -> dict[str, float]:
    return {f"test/{name}": value for name, value in task.test(state, tokens).items()}

  about = _described(dataset, config.data.tokens, "network", config.network, tree.size(task.init().weights))
  return TrainParts(_kept(dataset), about, task, dataset, describe, test)


def _check_memory(
  network: Config, component: str, data: TextConfig, dataset: TextDataset, nodes: int, activations: int, seeds: int, force: bool
) -> None:
  """Raises InputError if the network needs more memory than there is; not with `force`."""
  columns = min(data.batch_size, len(dataset.train)) // devices.shared_by()
  estimate = sizes.language_model(
    units=network.units,
    vocabulary=len(dataset.vocabulary),
    nodes=nodes,
    activations=activations,
    length=data.sequence_length + round(windows.DEVIATIONS * data.length_deviation),
    batch=max(columns, 1),
    eval_length=data.sequence_length,
    eval_batch=min(data.eval_batch_size, len(dataset.valid)),
  ).times(seeds)
  hint = f"lower --data.batch_size, --data.eval_batch_size, --data.sequence_length, --data.length_deviation or --{component}.units"
  memory.check_fits(estimate, hint, force)


def _kept(dataset: TextDataset) -> dict[str, str]:
  return {"vocabulary.txt": dataset.vocabulary.to_text()}


def _described(dataset: TextDataset, cut: int, kind: str, size: Config, weights: int) -> str:
  """Returns two lines that the launcher prints: one on the text and its unknown words, one on the network."""
  counts = {split: count for split, count in dataset.unknown.items() if split != "train" or not cut}
  unknown = ", ".join(f"{split} {count:,} ({100 * count / len(getattr(dataset, split)):.1f} %)" for split, count in counts.items())
  sizes = f"{len(dataset.train):,} {dataset.level}s to train on and {len(dataset.valid):,} to validate"
  data = f"{dataset.name}: {sizes}, vocabulary {len(dataset.vocabulary):,}; unknown: {unknown}"
  return f"{data}\n{kind}: {counted(size.units, 'unit')}, {weights:,} weights"
