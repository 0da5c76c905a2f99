"""Evaluation by training: full, or partial and resumed from rung to rung.

The validation accuracy after b epochs of a training is its score at budget b; the schedule of the learning rate is that of a full training,
whatever the budget, so a longer budget continues a shorter one and no epoch is trained twice. Source of the idea: Li et al., "A System for
Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020; Zoph and Le, 2017, for the full training.
"""

import functools
import pathlib

from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.data import base
from dnas.evaluate import by_training
from dnas.nets import derived_image, of_genotype
from dnas.train import images


class Training:
  """Trains the network of a proposal, and keeps it (an `evaluate.base.Evaluator`); the score is validation accuracy, a fraction.

  A training that is asked for again, or longer, goes on from its last checkpoint, whichever trial asked for it: one architecture has one
  training. A loss that is not finite gives a score that is not a number.

  Attributes:
    epochs: epochs of a full training; a proposal without a budget gets a full training.
  """

  def __init__(
    self,
    config: images.Config,
    network: derived_image.Config,
    data: base.Config,
    dataset: base.ImageDataset,
    seed: int,
    folder: pathlib.Path,
  ):
    """Makes the evaluator.

    Args:
      config: the full training.
      network: size of the network.
      data: batches and augmentation; its train_portion must leave a validation set.
      dataset: the data set.
      seed: seed of every training.
      folder: where checkpoints are kept, a folder per architecture.

    Raises:
      FieldError: if there is no validation set.
    """
    base.search_split(dataset, data)
    self._config, self._network, self._data, self._seed, self._folder = config, network, (data, dataset), seed, folder
    self.epochs = config.epochs

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Trains for the budget, and returns the validation accuracy after it. Raises InputError if the full training is shorter.

    The cost is wall time in seconds: of the whole budget, or of the added epochs alone if the proposal has a parent.
    """
    epochs = by_training.budget_of(proposal, self.epochs)
    build = functools.partial(of_genotype.build, self._network, proposal.genotype)
    task = images.RetrainTask(self._config, build, *self._data, self._seed)
    resumes = proposal.parent is not None
    return by_training.evaluation(task, self.folder_of(proposal.genotype), epochs, resumes, lambda metrics: metrics["valid/accuracy"])

  def folder_of(self, genotype: Genotype) -> pathlib.Path:
    """Returns the checkpoint folder of an architecture."""
    return by_training.folder_of(self._folder, genotype)
