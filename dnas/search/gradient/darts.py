"""Differentiable search by bilevel gradient steps: DARTS, and the methods and remedies that followed.

Source: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; the defaults are the published CIFAR-10 recipe.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional
from dnas.core import keys, tree
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.records import Progress, SearchResult
from dnas.core.spaces import DecisionSpace
from dnas.run import loop
from dnas.run.loop import step_key
from dnas.search.gradient import diagnostics, remedies
from dnas.search.gradient.methods import DifferentiableMethod
from dnas.search.gradient.methods.darts import Darts
from dnas.search.gradient.projection import decide
from dnas.search.gradient.remedies import Remedies
from dnas.search.gradient.stages import Start
from dnas.search.gradient.workload import Workload
from dnas.supernet import bilevel, relaxations
from dnas.supernet.discretize import discretize, edges_of, one_hot
from dnas.supernet.hypergradients import Hypergradient
from dnas.supernet.limits import Limit
from dnas.train import optimizers

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of the weight optimizer, of the architecture optimizer and of the diagnoses.

  Attributes:
    epochs: number of passes over the training data of the weights.
    optimizer: the optimizer of the weights: sgd, or adam with decays 0.9 and 0.999 of its moments.
    learning_rate: initial learning rate of the weights; after every epoch it falls along a cosine to final_learning_rate.
    final_learning_rate: learning rate of the weights at the end of the cosine, also where it is above learning_rate.
    momentum: momentum of the weights under sgd.
    weight_decay: coefficient of the L2 penalty on the weights.
    gradient_clip: largest global norm of the weights' gradient; 0 does not clip.
    arch_warmup_epochs: number of epochs at the start that train only the weights; all of them if a projection alone is to decide.
    arch_learning_rate: learning rate of the architecture optimizer, which is Adam or exponentiated gradient.
    arch_beta1: decay of Adam's first moment.
    arch_beta2: decay of Adam's second moment.
    arch_weight_decay: coefficient of the L2 penalty on the architecture parameters.
    arch_init_scale: standard deviation of the initial architecture parameters.
    diagnose_every: number of epochs between diagnoses of collapse; the last epoch has a diagnosis too; 0 for none. A diagnosis takes 20
      gradients and a validation.
  """

  epochs: int = 50
  optimizer: str = named("sgd", lambda: optimizers.WEIGHT_OPTIMIZERS)
  learning_rate: float = 0.025
  final_learning_rate: float = 0.001
  momentum: float = 0.9
  weight_decay: float = 3e-4
  gradient_clip: float = 5.0
  arch_warmup_epochs: int = 0
  arch_learning_rate: float = 3e-4
  arch_beta1: float = 0.5
  arch_beta2: float = 0.999
  arch_weight_decay: float = 1e-3
  arch_init_scale: float = 1e-3
  diagnose_every: int = 5

  def __post_init__(self):
    check_types(self)
    check_name("optimizer", self.optimizer, optimizers.WEIGHT_OPTIMIZERS)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, arch_learning_rate=self.arch_learning_rate)
    check_not_negative(
      final_learning_rate=self.final_learning_rate,
      weight_decay=self.weight_decay,
      gradient_clip=self.gradient_clip,
      arch_weight_decay=self.arch_weight_decay,
      arch_init_scale=self.arch_init_scale,
      arch_warmup_epochs=self.arch_warmup_epochs,
      diagnose_every=self.diagnose_every,
    )
    check_at_most(1e6, **{f"arch_{name}": getattr(self, f"arch_{name}") for name in ("learning_rate", "weight_decay", "init_scale")})
    hint = f"the warm-up is a part of the epochs, so give at most darts.epochs, {self.epochs}"
    check(self.arch_warmup_epochs <= self.epochs, "arch_warmup_epochs", self.arch_warmup_epochs, hint)
    check_fraction(momentum=self.momentum, arch_beta1=self.arch_beta1, arch_beta2=self.arch_beta2)

  def weight_optimizer(self, clipped: bool = True, through_clip: bool = True) -> tree.Flattened:
    """Returns the optimizer of the weights; unless `clipped`, it does not clip. See `optimizers.sgd` for `through_clip`."""
    clip = self.gradient_clip if clipped else 0.0
    rates = {"momentum": self.momentum, "weight_decay": self.weight_decay}
    return optimizers.of_weights(self.optimizer, **rates, gradient_clip=clip, through_clip=through_clip)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """The state of a search.

  Attributes:
    search: the arrays that a bilevel step changes.
    carry: further arrays that one step hands to the next, such as hidden states.
    op_mask: masks of the operations; an earlier stage or a projection may have ruled some out.
    key: raw data of the random key of the run; no step changes it.
  """

  search: bilevel.SearchState
  carry: Tree
  op_mask: relaxations.OpMask
  key: jax.Array


class StepInputs(NamedTuple):
  """The inputs of a step without the state of the search; arrays, or trees of arrays.

  Attributes:
    train_batch: the training batch.
    valid_batch: the validation batch.
    key: typed random key of the relaxation and of dropout masks.
    learning_rate: learning rate of the weights.
    progress: the complete fraction of the search.
  """

  train_batch: Tree
  valid_batch: Tree
  key: jax.Array
  learning_rate: tree.Scalar
  progress: tree.Scalar


class DartsTask:
  """A differentiable search (a `loop.Task`).

  Attributes:
    space: the search space.
    workload: the supernet and its data.
    problem: the bilevel step of the search.
    epochs: number of epochs, including those of a projection.
    decisions: the decisions of a projection, in their order.
  """

  def __init__(
    self,
    config: Config,
    workload: Workload,
    hypergradient: Hypergradient,
    key: jax.Array,
    method: DifferentiableMethod | None = None,
    remedy: Remedies | None = None,
    start: Start | None = None,
    limit: Limit | None = None,
  ):
    """Builds the task.

    Args:
      config: settings of the optimizers and of the diagnoses.
      workload: the supernet and its data; the supernet must be built with the edges of the method.
      hypergradient: the estimator of the hypergradient.
      key: typed random key of the initial architecture and of every step.
      method: the method; DARTS if not given.
      remedy: the remedies against collapse; none if not given.
      start: weights and masks with which a later stage of a search starts; if not given, new weights and all operations.
      limit: the limit on the expected cost; none if not given.

    Raises:
      FieldError: if the remedies do not fit the length of the search, or the space.
    """
    method, remedy = method or Darts(), remedy or Remedies()
    self._config, self.workload, self._key, self._remedies = config, workload, key, remedy
    self.space, self._start = workload.space, start or Start(workload.initial, relaxations.everything(workload.space))
    remedy.check_fits(self.space, config.epochs, config.final_learning_rate, config.diagnose_every)
    if config.arch_warmup_epochs == config.epochs:
      remedy.check_decides_alone(config.epochs, limit is not None)
    weight_optimizer = unrolled_optimizer = config.weight_optimizer()
    clipped, through_clip = getattr(hypergradient, "clipped", True), getattr(hypergradient, "through_clip", True)
    if not (clipped and through_clip):
      unrolled_optimizer = config.weight_optimizer(clipped, through_clip)
    relaxation = remedy.relaxation(method.relaxation(self.space), self.space)
    choices = bilevel.Method(relaxation, method.arch_optimizer(config, self.space), hypergradient, remedy.make_perturbation())
    programs, penalties = bilevel.compiled(self._loss), (limit, remedy.make_sharpening())
    self.problem = bilevel.BilevelProblem(
      programs, choices, weight_optimizer, config.weight_decay, unrolled_optimizer, workload.shared_masks, *penalties
    )
    self._mean = jax.jit(lambda arch, op_mask: self._weights(relaxation.mean(relaxation.restricted(arch, op_mask)), arch, op_mask))
    seed = int(np.asarray(jax.random.key_data(key)).ravel()[-1])
    self.decisions = remedies.decisions(self.space, seed) if remedy.projection else ()
    self.epochs = config.epochs + remedy.projection_epochs * max(len(self.decisions) - 1, 0)

  def init(self) -> State:
    """See `loop.Task`."""
    arch = self.problem.method.relax.init(self.space, keys.derive(self._key, "arch"), self._config.arch_init_scale)
    weights, stats = self._start.variables.weights, self._start.variables.stats
    optimizer_states = self.problem.weight_optimizer.init(weights), self.problem.method.arch_optimizer.init(arch)
    limit = self.problem.limit
    search = bilevel.SearchState(weights, stats, arch, *optimizer_states, None if limit is None else jnp.float32(limit.start))
    return State(search, self.workload.carry, self._start.op_mask, jax.random.key_data(self._key))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return self.workload.end_of_epoch(epoch)

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    return self.update(state, self.inputs(state.key, state.carry, step), self.updates_arch(step))

  def inputs(self, key: jax.Array, carry: Tree, step: int) -> StepInputs:
    """Returns the inputs of a step; `key` and `carry` come from the state before the step."""
    *of_batches, key_masks = _keys_of_step(step_key(key, np.int32(step)))
    train_batch, valid_batch = self.workload.batches(step, tuple(of_batches), carry)
    rate = self.workload.learning_rate_factor(step) * self._learning_rate(loop.epoch_of(self, step))
    progress = min(step / self.end_of_epoch(self._config.epochs), 1.0)
    return StepInputs(train_batch, valid_batch, key_masks, np.float32(rate), np.float32(progress))

  def updates_arch(self, step: int) -> bool:
    """Returns whether a step updates the architecture; every step updates the weights."""
    return self._config.arch_warmup_epochs <= loop.epoch_of(self, step) < self._config.epochs

  def update(self, state: State, inputs: StepInputs, update_arch: bool) -> tuple[State, Mapping[str, jax.Array]]:
    """Returns the state and the metrics after a step. It is a pure function of arrays, so `jax.vmap` can vectorize it."""
    weight_state = optimizers.with_learning_rate(state.search.weight_state, inputs.learning_rate)
    search, outputs = self.problem.step(
      dataclasses.replace(state.search, weight_state=weight_state),
      inputs.train_batch,
      inputs.valid_batch,
      inputs.key,
      inputs.progress,
      update_arch,
      state.op_mask,
    )
    carry, metrics = self.workload.after_step(state.carry, outputs)
    return dataclasses.replace(state, search=search, carry=carry), metrics

  def reseeded(self, seed: int, start: Start | None = None) -> "DartsTask":
    """Returns the same search with another seed; both searches share their compiled programs.

    Args:
      seed: seed of all randomness.
      start: as in the constructor, for the supernet of the new seed.
    """
    other = copy.copy(self)
    other.workload, other._key = self.workload.reseeded(seed), jax.random.key(seed)
    other._start = start or Start(other.workload.initial, relaxations.everything(self.space))
    other.decisions = remedies.decisions(self.space, seed) if self.decisions else ()
    return other

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, loop.EpochRecord]:
    """See `loop.Task`."""
    number, tuned = divmod(epoch - self._config.epochs, self._remedies.projection_epochs)
    projects = bool(self.decisions) and epoch >= self._config.epochs
    if projects and not tuned:
      state = dataclasses.replace(state, op_mask=self._decided(state, self.decisions[number]))
    mixture = self.mixture(state)
    on_host = relaxations.to_numpy(mixture)
    valid = self.workload.evaluate(self._variables(state), mixture, batch_statistics=projects)
    genotype = discretize(self.space, on_host, self._remedies.cap)
    metrics = {f"train/{name}": value for name, value in self.workload.train_metrics(means).items()}
    metrics |= {f"valid/{name}": value for name, value in valid.items()} | ({"decisions": number + 1} if projects else {})
    if self.problem.limit is not None:
      metrics |= self.problem.limit.metrics(on_host, genotype, state.search.multiplier)
    metrics["learning_rate"] = self._learning_rate(epoch - 1)
    metrics |= diagnostics.of_mixture(self.space, genotype, on_host, relaxations.to_numpy(state.op_mask))
    every = self._config.diagnose_every
    if every and (epoch % every == 0 or epoch == self.epochs):
      chosen = one_hot(self.space, genotype)
      chosen = relaxations.with_edges(self.space, chosen, edges_of(self.space, chosen), relaxations.everything(self.space))
      alone = self.workload.evaluate(self._variables(state), chosen, batch_statistics=True)
      metrics |= {f"discretized/{name}": value for name, value in alone.items() if "/" not in name}  # without accuracies by class
      metrics["eigenvalue"] = self._eigenvalue(state)
    record: loop.EpochRecord = {
      "metrics": metrics,
      "genotype": genotype.to_json(),
      "mixture": {cell: on_host[cell].tolist() for cell in self.space.arch_shapes},
    }
    return state, record

  def mixture(self, state: State) -> relaxations.Mixture:
    """Returns the noise-free mixture: weights of the mixed operations, cell type to [edges, operations], and weights of the edges."""
    return self._mean(state.search.arch, state.op_mask)

  def _weights(self, mixture: relaxations.Mixture, arch: relaxations.Arch, op_mask: relaxations.OpMask) -> relaxations.Mixture:
    """Returns the input mixture of the supernet: the masked mixture, with the weights of the edges added."""
    return relaxations.with_edges(self.space, relaxations.restrict(mixture, op_mask), self.problem.method.relax.edges(arch), op_mask)

  def stops(self, history: list[loop.HistoryRecord]) -> bool:
    """Returns whether the search ends early after these epochs, because the dominant eigenvalue has grown (`remedies.stops`)."""
    values = np.array([record["metrics"]["eigenvalue"] for record in history if "eigenvalue" in record["metrics"]])
    diagnosed = bool(history) and "eigenvalue" in history[-1]["metrics"]
    return diagnosed and remedies.stops(values, self._remedies.stop_ratio, self._remedies.stop_window)

  def result(self, history: list[loop.HistoryRecord]) -> SearchResult:
    """Returns the result of a complete search.

    Genotype and metrics are those of the last epoch. If the search stopped early, they are from `stop_window` diagnoses before.
    """
    chosen = history[-1]
    if self.stops(history):
      chosen = [record for record in history if "eigenvalue" in record["metrics"]][-1 - self._remedies.stop_window]
    progress = progress_of(chosen, self.space)
    return SearchResult(progress.genotype, history[-1]["seconds"], progress.metrics)

  def _variables(self, state: State) -> functional.Variables:
    return functional.Variables(state.search.weights, state.search.stats)

  def _decided(self, state: State, decision: remedies.Decision) -> relaxations.OpMask:
    def loss(op_mask: relaxations.OpMask) -> float:
      return self.workload.evaluate(self._variables(state), self._mean(state.search.arch, op_mask), batch_statistics=True)["loss"]

    return decide(decision, self.space, jax.tree.map(np.asarray, dict(state.op_mask)), loss)

  def _eigenvalue(self, state: State) -> float:
    key = keys.derive(jax.random.wrap_key_data(state.key), "eigenvalue")
    *of_batches, key_masks = _keys_of_step(key)
    _, batch = self.workload.batches(0, tuple(of_batches), state.carry)
    search, rest = state.search, (bilevel.LossInputs(batch, np.float32(1), state.op_mask), key_masks)

    def gradient(arch: relaxations.Arch) -> relaxations.Arch:
      return self.problem.programs.arch_gradient(search.weights, arch, search.stats, *rest).gradients.arch

    return diagnostics.dominant_eigenvalue(gradient, search.arch, keys.derive(key, "direction"))

  def _learning_rate(self, epoch: int) -> float:
    rates = self._config.learning_rate, self._config.final_learning_rate
    return optimizers.cosine(*rates, min(epoch, self._config.epochs), self._config.epochs)

  def _loss(
    self, weights: Tree, arch: relaxations.Arch, stats: Tree, inputs: bilevel.LossInputs, key: jax.Array
  ) -> tuple[jax.Array, tuple[Tree, Mapping[str, Any]]]:
    assert inputs.op_mask is not None
    relax = self.problem.method.relax
    mixture = relax(relax.restricted(arch, inputs.op_mask), keys.derive(key, "relaxation"), inputs.progress)
    mixture = self._weights(mixture, arch, inputs.op_mask)
    return self.workload.loss(weights, mixture, stats, inputs.batch, keys.derive(key, "network"))


@jax.jit
def _keys_of_step(key: jax.Array) -> tuple[jax.Array, ...]:
  """Returns three keys: for the training batch, for the validation batch, and for the relaxation and the dropout masks."""
  return tuple(keys.derive(key, name) for name in ("train_batch", "valid_batch", "masks"))


def progress_of(record: loop.HistoryRecord, space: DecisionSpace) -> Progress:
  """Returns the record of an epoch as a `Progress`."""
  genotype = space.parse(record["genotype"])  # pyright: ignore[reportTypedDictNotRequiredAccess]  # a search has one
  return Progress(record["epoch"], record["metrics"], genotype)
