"""The workload of a search on text: a recurrent supernet and its data."""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional, language_model
from dnas.core import keys
from dnas.core.config import check
from dnas.core.costs import Costs
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace
from dnas.data import text, windows
from dnas.nets.costs import of_word
from dnas.nets.derived_language import derived_language_model
from dnas.search.gradient.workload import Tree
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.language_supernet import language_supernet
from dnas.supernet.relaxations import Mixture
from dnas.train.language import Evaluate, language_loss, perplexity_of


class LanguageWorkload:
  """A recurrent supernet on a text (a `Workload`). The training split trains the weights, the validation split trains the architecture.

  Each split has hidden states of its own. A step starts from the hidden states at the end of the step before.

  Attributes:
    space: the search space.
    network: the static part of the supernet.
  """

  def __init__(
    self,
    config: language_model.Config,
    data_config: text.Config,
    space: CellSpace,
    dataset: text.TextDataset,
    seed: int,
    shared_masks: bool = True,
    edges: EdgeOptions = EdgeOptions(),  # noqa: B008  (frozen)
  ):
    """Builds the workload.

    Args:
      config: size and regularization of the supernet.
      data_config: sizes of batches and lengths of windows.
      space: the search space.
      dataset: the text.
      seed: seed of the initial weights and of the random lengths of training windows.
      shared_masks: see `Workload`.
      edges: the method's options for the edges.

    Raises:
      FieldError: if a batch has fewer than two columns, or more columns than its text can fill.
    """
    for name in ("batch_size", "eval_batch_size"):
      value = getattr(data_config, name)
      check(value >= 2, f"data.{name}", value, "the supernet normalizes over the batch, so it must be at least 2")
    self.space, self.shared_masks = space, shared_masks
    self._derive = lambda genotype: derived_language_model(config, genotype, len(dataset.vocabulary), np.random.default_rng(0))
    self._train = windows.TrainingWindows(dataset.train, data_config, seed)
    self._make = lambda seed: language_supernet(config, space, len(dataset.vocabulary), keys.generator(seed, "weights"), edges)
    self._valid = windows.ValidationWindows(dataset.valid, data_config)
    self._base_length = data_config.sequence_length
    network = self._make(seed)
    self.network, self.initial = functional.split(network)
    hidden = network.initial_hidden(data_config.batch_size)
    self.carry = (hidden, hidden)
    self._evaluate = Evaluate(self._predict, network.initial_hidden, data_config)
    self._valid_text = self._evaluate.columns(dataset.valid, data_config.eval_batch_size)

  def reseeded(self, seed: int) -> "LanguageWorkload":
    """See `Workload`. Both workloads share the text on the device."""
    other = copy.copy(self)
    other._train, other.initial = self._train.reseeded(seed), functional.split(self._make(seed))[1]
    return other

  def end_of_epoch(self, epoch: int) -> int:
    """See `Workload`."""
    return self._train.end_of_epoch(epoch)

  def learning_rate_factor(self, step: int) -> float:
    """Returns the length of the step's training window, divided by the base length."""
    return self._train.length(step) / self._base_length

  def batches(self, step: int, keys: tuple[jax.Array, jax.Array], carry: Tree) -> tuple[Tree, Tree]:
    """Returns two triples, for training and for validation: a window, the hidden states before it, and the factor of the penalties.

    The factor is 1 for training and 0 for validation.
    """
    return (self._train(step), carry[0], np.float32(1)), (self._valid(step), carry[1], np.float32(0))

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """See `Workload`."""
    window, hidden, penalized = batch
    variables = functional.Variables(weights, stats)
    loss, penalty, hidden = language_loss(self.network, variables, window, hidden, mixture[self.space.cells[0]], key)
    words = window.length.astype(jnp.float32)
    return loss + penalized * penalty, (stats, {"hidden": hidden, "nats": loss * words, "words": words})

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """See `Workload`."""
    carry = outputs.pop("hidden"), outputs.pop("valid_hidden", carry[1])
    return carry, outputs

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """Returns loss (nats per word, without penalties) and perplexity."""
    return perplexity_of(means["nats"] / means["words"])

  def costs(self, genotype: Genotype) -> Costs:
    """Returns the costs of one word; see `Workload`."""
    return of_word(*functional.split(self._derive(genotype)))

  def evaluate(self, variables: functional.Variables, mixture: Mixture, batch_statistics: bool = False) -> dict[str, float]:
    """Returns loss (nats per word) and perplexity over the validation split.

    `batch_statistics` has no effect: the supernet has no running statistics, and always normalizes hidden states over the batch.
    """
    return self._evaluate((variables, mixture), self._valid_text)

  def _predict(self, network: tuple[functional.Variables, Mixture], tokens: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    variables, mixture = network
    mixture = mixture[self.space.cells[0]]
    length = np.int32(len(tokens))
    (logits, hidden, _), _ = functional.apply(self.network, variables, tokens, hidden, length, mixture)
    return logits, hidden
