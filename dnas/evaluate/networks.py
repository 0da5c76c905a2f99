"""Evaluation of the architectures of a user's own network, by a training of the derived network."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax

from dnas.core.choice_space import ChoiceGenotype
from dnas.core.costs import Costs
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.data.pairs import Batches
from dnas.evaluate import by_training
from dnas.nets.costs import of_own_network
from dnas.supernet.choice_network import SearchableNetwork
from dnas.train.networks import Config, NetworkTask
from dnas.train.own_loss import Loss


class NetworkTraining:
  """Trains the derived network of a proposal, and keeps it (an `evaluate.base.Evaluator`).

  The score is minus the validation loss, or a metric of the user. The score at a budget of b epochs is that after b epochs of the full
  training, and one architecture has one training, as in `evaluate.training`. A loss that is not finite gives a score that is not a number.

  Attributes:
    epochs: epochs of a full training; a proposal without a budget gets a full training.
  """

  def __init__(
    self, config: Config, network: SearchableNetwork, data: Batches, loss: Loss, seed: int, folder: pathlib.Path, metric: str = ""
  ):
    """Makes the evaluator.

    Args:
      config: the full training.
      network: the network with choices.
      data: its data.
      loss: the loss.
      seed: seed of every training.
      folder: where checkpoints are kept, a folder per architecture.
      metric: name of the metric, of those that the loss function returns, that is the score; empty for minus the loss.
    """
    self.epochs, self._config, self._parts, self._seed = config.epochs, config, (network, data, loss), seed
    self._folder, self._metric = folder, metric
    self._costs = dict[ChoiceGenotype, Costs]()

  @functools.cached_property
  def batch(self) -> Any:
    """The first training batch, inputs and targets."""
    return self._parts[1].train_batch(jax.random.key(self._seed), 0)

  def check(self) -> None:
    """Raises InputError if the loss function does not fit, as tracing a step of one architecture shows, or returns no such metric."""
    space = self._parts[0].space
    self._score({f"valid/{name}": 0.0 for name in self._task(space.decode([0] * len(space.decisions))).metrics})

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Trains for the budget, and returns the score after it. The cost is wall time in seconds; see `evaluate.training.Training`.

    The metrics have the counted costs of the network for one example, by their names (`core.costs.NAMES`).

    Raises:
      InputError: if the full training is shorter, or the loss function returns no such metric.
    """
    genotype, epochs = self._parts[0].space.validate(proposal.genotype), by_training.budget_of(proposal, self.epochs)
    resumes = proposal.parent is not None
    evaluation = by_training.evaluation(self._task(genotype), self.folder_of(genotype), epochs, resumes, self._score)
    counted = dataclasses.asdict(self.costs(genotype))
    return dataclasses.replace(evaluation, metrics={**evaluation.metrics, **counted})

  def costs(self, genotype: ChoiceGenotype) -> Costs:
    """Returns the costs of one example."""
    if genotype not in self._costs:
      self._costs[genotype] = of_own_network(self._parts[0].derive(genotype), self.batch[0])
    return self._costs[genotype]

  def folder_of(self, genotype: ChoiceGenotype) -> pathlib.Path:
    """Returns the checkpoint folder of an architecture."""
    return by_training.folder_of(self._folder, genotype)

  def _task(self, genotype: ChoiceGenotype) -> NetworkTask:
    network, data, loss = self._parts
    return NetworkTask(self._config, network.derive(genotype, seed=self._seed), data, loss, self._seed)

  def _score(self, metrics: dict[str, float]) -> float:
    if not self._metric:
      return -metrics["valid/loss"]
    if f"valid/{self._metric}" not in metrics:
      known = ", ".join(name.removeprefix("valid/") for name in metrics if name.startswith("valid/"))
      raise InputError(f"the loss function returns no metric '{self._metric}'; it returns {known}.")
    return metrics[f"valid/{self._metric}"]
