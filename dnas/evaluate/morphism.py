"""Evaluation by network morphism: an architecture begins with the weights of another one, and is trained for a few epochs.

Sources: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017: 20 epochs for
the first network, 17 for each child, both with the learning rate on a cosine from 0.05 to zero; Cai et al., "Efficient Architecture Search
by Network Transformation" (EAS), AAAI 2018: noise in the weights of copies. `nets.morphisms` holds the morphisms.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dnas.core import durable, json_files, keys, tree
from dnas.core.chain_space import ChainSpace
from dnas.core.config import check_at_most, check_not_negative, check_positive, check_types
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.core.trials import trial_id
from dnas.data import base
from dnas.nets import derived_image, of_genotype
from dnas.nets.morphisms import cells, chain_network
from dnas.nets.morphisms.base import Inherited, Trained
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.train import images
from dnas.train.image_steps import TrainState

_FILE = "proposal.json"


@dataclasses.dataclass(frozen=True)
class Config:
  """How architectures inherit, and how long they are trained.

  Attributes:
    epochs: epochs of an architecture that inherits. A proposal with a budget gets that instead.
    first_epochs: epochs of an architecture without parent, which begins with new weights.
    learning_rate: learning rate at the start of every training; it falls to zero along a cosine.
    noise: standard deviation of the noise in the kernels of copied channels, as a fraction of that of the kernel; 0 keeps copies equal.
  """

  epochs: int = 17
  first_epochs: int = 20
  learning_rate: float = 0.05
  noise: float = 0.01

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs, first_epochs=self.first_epochs)
    check_positive(epochs=self.epochs, first_epochs=self.first_epochs, learning_rate=self.learning_rate)
    check_not_negative(noise=self.noise)


class _Begun:
  """A training that begins with a given state (a `loop.Task`)."""

  def __init__(self, task: images.RetrainTask, state: TrainState):
    self.task, self.state, self.epochs = task, state, task.epochs

  def init(self) -> TrainState:
    return self.state

  def end_of_epoch(self, epoch: int) -> int:
    return self.task.end_of_epoch(epoch)

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    return self.task.step(state, step)

  def end_epoch(self, state: TrainState, epoch: int, means: Mapping[str, float]) -> tuple[TrainState, loop.EpochRecord]:
    return self.task.end_epoch(state, epoch, means)


class _Parent(NamedTuple):
  """The architecture of an earlier trial, its training, and its last state."""

  genotype: Genotype
  task: images.RetrainTask
  state: TrainState


class Morphism:
  """Trains the network of a proposal from the weights of its parent (an `evaluate.base.Evaluator`). The score is validation accuracy.

  The parent is the trial that the proposal names (`core.trials.trial_id`). Its network must have been evaluated in the same folder. Without
  a parent, or with one that is not there, the network begins with new weights. Every trial has a folder with its proposal and its last
  state. So a killed search goes on, and so does a killed training. If the loss is not finite, the score is nan.
  """

  def __init__(
    self,
    config: Config,
    space: CellSpace | ChainSpace,
    training: images.Config,
    network: derived_image.Config,
    data: base.Config,
    dataset: base.ImageDataset,
    seed: int,
    folder: pathlib.Path,
  ):
    """Makes the evaluator.

    Args:
      config: epochs, learning rate and noise.
      space: the search space, of cells or of chains.
      training: the other settings of the trainings.
      network: size of the networks.
      data: batches and augmentation; its train_portion must leave a validation set.
      dataset: the data set.
      seed: seed of all trials; each trial draws from it and its own id.
      folder: where trials are kept.

    Raises:
      FieldError: if there is no validation set.
    """
    base.search_split(dataset, data)
    self.config, self._space, self._network, self._data, self._seed = config, space, network, (data, dataset), seed
    changes = {"learning_rate": config.learning_rate, "final_learning_rate": 0.0, "schedule": "cosine", "milestones": ()}
    self._training, self._folder = dataclasses.replace(training, **changes), folder

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Trains for the budget. Returns the validation accuracy after it, with the cost in seconds.

    The metrics include those before the first step, such as `start/valid/accuracy`, whether there was a parent (`inherited`), and whether
    the network then computed the function of its parent (`exact`).
    """
    began, trial = time.monotonic(), trial_id(proposal)
    parent = None if proposal.parent is None else self._restored(proposal.parent)
    epochs = proposal.budget or (self.config.first_epochs if parent is None else self.config.epochs)
    task, seed = self._task(proposal.genotype, epochs, trial)
    state, exact = task.init(), False
    if parent is not None:
      inherited = self._inherited(parent, proposal.genotype, task, state, seed)
      state, exact = _with(state, inherited.trained), inherited.exact
    started = {f"start/valid/{name}": value for name, value in task.validate(state).items()}
    asked = {"genotype": json.loads(proposal.genotype.to_json()), "budget": proposal.budget, "parent": proposal.parent, "epochs": epochs}
    (self._folder / trial).mkdir(parents=True, exist_ok=True)
    durable.write(self._folder / trial / _FILE, json.dumps(asked))
    begun = _Begun(task, state)
    with Checkpoints(self._folder / trial / "checkpoints", keep=1) as checkpoints:
      position, prepared = loop.restore(begun, checkpoints), time.monotonic() - began
      with contextlib.suppress(loop.NonFiniteLoss):
        for _ in loop.run(begun, position, checkpoints):
          pass
    metrics = {**started, "inherited": float(parent is not None), "exact": float(exact)}
    if len(position.history) < epochs:
      return Evaluation(math.nan, prepared + position.seconds, metrics | {"epochs": float(len(position.history))})
    record = position.history[-1]
    metrics |= {**record["metrics"], "epochs": float(epochs)}
    return Evaluation(metrics["valid/accuracy"], prepared + record["seconds"], metrics)

  def curve(self, proposal: Proposal) -> list[float]:
    """Returns the validation accuracy after every epoch of a proposal that was evaluated, from disk."""
    trial = trial_id(proposal)
    task, _ = self._task(proposal.genotype, 1, trial)
    with Checkpoints(self._folder / trial / "checkpoints") as checkpoints:
      return [record["metrics"]["valid/accuracy"] for record in loop.restore(task, checkpoints).history]

  def _task(self, genotype: Genotype, epochs: int, trial: str) -> tuple[images.RetrainTask, int]:
    """Returns the training of a trial, and its seed."""
    seed = int(hashlib.sha256(f"{self._seed} {trial}".encode()).hexdigest()[:8], 16)
    build = functools.partial(of_genotype.build, self._network, genotype)
    return images.RetrainTask(dataclasses.replace(self._training, epochs=epochs), build, *self._data, seed), seed

  def _restored(self, trial: str) -> "_Parent | None":
    """Returns the architecture of an earlier trial with its training and last state; None if there is no such trial."""
    folder = self._folder / trial
    if not re.fullmatch("[0-9a-f]{16}", trial) or not (folder / _FILE).is_file() or not (folder / "checkpoints").is_dir():
      return None
    asked = json_files.read_object(folder / _FILE, "remove the folder, and the search begins anew")
    genotype = self._space.validate(self._space.parse(asked["genotype"], str(folder / _FILE)), where=str(folder / _FILE))
    task, _ = self._task(genotype, 1, trial)
    with Checkpoints(folder / "checkpoints") as checkpoints:
      found = checkpoints.restore(task.init())
    return None if found is None else _Parent(genotype, task, found.state)

  def _inherited(self, parent: "_Parent", goal: Genotype, task: images.RetrainTask, fresh: TrainState, seed: int) -> Inherited:
    start, before, trained = parent
    momentum = optax.tree.get(trained.opt_state, "trace")
    arrays = Trained(before.variables_of(trained), None if momentum is None else tree.unravel(momentum, trained.weights))
    if isinstance(self._space, ChainSpace):
      batch = before.batch(keys.derive(jax.random.key(seed), "moments"))
      chain = chain_network.to_chain(start, before.network, arrays, batch, self._network.channels)
      return chain_network.inherited(self._space, start, goal, chain, seed, self.config.noise)
    return cells.Inheritance(start, goal, self._space.num_inputs, task.cell_types)(arrays, task.variables_of(fresh))


def _with(state: TrainState, trained: Trained) -> TrainState:
  """Returns a state with inherited arrays. The momentum follows if there is one."""
  weights, stats = trained.variables.weights, trained.variables.stats
  assert jax.tree.map(np.shape, (weights, stats)) == jax.tree.map(np.shape, (state.weights, state.stats))
  opt_state: Any = state.opt_state
  if trained.momentum is not None:
    opt_state = optax.tree.set(opt_state, trace=tree.ravel(trained.momentum))
  return TrainState(weights, stats, opt_state, state.key)

