"""REINFORCE with a recurrent controller. Each decision depends on the decisions before it.

Sources: Zoph and Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, sections 3.1 and 3.2: a softmax per decision,
with each decision as the next input; weights drawn uniformly from [-0.08, 0.08]; Adam with learning rate 0.0006; a moving average of the
scores as baseline. Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018: one LSTM of 100 units, and an
entropy bonus with weight 1e-4.

Sampling and update are two programs, compiled once per space and controller size. Other settings are arguments of the programs.
Shapes: D decisions, each with up to K values; H hidden units.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dnas.core.config import check_at_most, check_fraction, check_not_negative, check_positive, check_types
from dnas.core.errors import FieldError
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import DecisionSpace, Space
from dnas.search.blackbox.base import STRATEGIES, generator
from dnas.search.blackbox.decisions import allowed_values, of_decisions
from dnas.search.blackbox.reinforce import advantage_over

Weights = dict[str, jax.Array]
"""Weights of the controller. `inputs` [D, K, H] embed the previous decision; `inputs[0, 0]` is the first input. `kernel` [2H, 4H] and
`bias` [4H] are the LSTM. `heads` [D, H, K] and `offsets` [D, K] are the softmax layers."""

Carry = tuple[jax.Array, jax.Array, jax.Array]
"""Hidden state and memory, [H] each, and the next input, [H]."""


@STRATEGIES.register("reinforce_lstm")
@dataclasses.dataclass(frozen=True)
class Config:
  """Controller and optimizer.

  Attributes:
    hidden: number of LSTM units.
    learning_rate: learning rate of Adam.
    baseline_decay: decay of the moving average of the scores; it starts at the first score.
    entropy_weight: weight of the policy's entropy (nats) in the objective.
    init_scale: initial weights are uniform in [-init_scale, init_scale].
  """

  hidden: int = 100
  learning_rate: float = 6e-4
  baseline_decay: float = 0.9
  entropy_weight: float = 1e-4
  init_scale: float = 0.08

  def __post_init__(self):
    check_types(self)
    check_positive(hidden=self.hidden, learning_rate=self.learning_rate, init_scale=self.init_scale)
    check_at_most(10**4, hidden=self.hidden)
    check_not_negative(entropy_weight=self.entropy_weight)
    check_at_most(1e6, learning_rate=self.learning_rate, init_scale=self.init_scale, entropy_weight=self.entropy_weight)
    check_fraction(baseline_decay=self.baseline_decay)

  def on(self, space: Space) -> "ReinforceLstm":
    """See `base.Settings`."""
    return ReinforceLstm(of_decisions(space), self, allowed_values(of_decisions(space)))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class State:
  """A controller and its optimizer; a tree of arrays.

  Attributes:
    seed: seed of all draws.
    asked: number of proposals asked.
    told: number of proposals told, without failed trainings.
    baseline: moving average of the scores, without the correction for its start at zero.
    weights: weights of the controller.
    optimizer: state of Adam.
  """

  seed: int
  asked: int
  told: int
  baseline: float
  weights: Weights
  optimizer: optax.OptState


@dataclasses.dataclass(frozen=True, eq=False)
class ReinforceLstm:
  """REINFORCE with an LSTM controller (a `base.Strategy`).

  Attributes:
    space: the search space.
    config: settings.
    allowed: mask of the values that each decision has, [D, K].
  """

  space: DecisionSpace
  config: Config
  allowed: np.ndarray

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    (num_decisions, num_values), hidden, scale = self.allowed.shape, self.config.hidden, self.config.init_scale
    shapes = {"inputs": (num_decisions, num_values, hidden), "kernel": (2 * hidden, 4 * hidden), "bias": (4 * hidden,)}
    shapes |= {"heads": (num_decisions, hidden, num_values), "offsets": (num_decisions, num_values)}
    rng = generator(seed, 0)
    weights = {name: jnp.asarray(rng.uniform(-scale, scale, shape), jnp.float32) for name, shape in shapes.items()}
    return State(seed, 0, 0, 0.0, weights, optax.adam(0.0).init(weights))

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Draws the decisions one after another; see `base.Strategy`. Raises FieldError if the controller's outputs are nan."""
    asked = state.asked + 1
    draws = generator(state.seed, asked).random(len(self.allowed)).astype(np.float32)
    decisions = np.asarray(draw(state.weights, self.allowed, draws))
    if (decisions < 0).any():
      hint = "the controller became non-finite; lower it, or reinforce_lstm.init_scale"
      raise FieldError("reinforce_lstm.learning_rate", self.config.learning_rate, hint)
    return Proposal(self.space.decode(decisions.tolist())), dataclasses.replace(state, asked=asked)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Takes one step of Adam on -(score - baseline) log p(decisions) - entropy_weight * entropy; see `base.Strategy`.

    A failed training, whose score is not finite, changes nothing.
    """
    if not math.isfinite(evaluation.score):
      return state
    told = state.told + 1
    baseline, advantage = advantage_over(state.baseline, evaluation.score, self.config.baseline_decay, told)
    decisions = np.asarray(self.space.encode(proposal.genotype), np.int32)
    settings = np.asarray([advantage, self.config.entropy_weight, self.config.learning_rate], np.float32)
    weights, optimizer = _update(state.weights, state.optimizer, self.allowed, decisions, settings)
    return State(state.seed, state.asked, told, baseline, weights, optimizer)


def _start(weights: Weights) -> Carry:
  """Returns the initial hidden state and memory, [H] each, and the first input, [H]."""
  zeros = jnp.zeros(weights["heads"].shape[1])
  return zeros, zeros, weights["inputs"][0, 0]


def _step(weights: Weights, carry: Carry, head: jax.Array, offset: jax.Array, allowed_K: jax.Array) -> Carry:
  """Returns the next hidden state and memory, [H] each, and the log-probabilities of one decision, [K]."""
  hidden, memory, x = carry
  gates = jnp.concatenate([x, hidden]) @ weights["kernel"] + weights["bias"]
  into, forget, out, new = jnp.split(gates, 4)
  memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(into) * jnp.tanh(new)
  hidden = jax.nn.sigmoid(out) * jnp.tanh(memory)
  return hidden, memory, jax.nn.log_softmax(jnp.where(allowed_K, hidden @ head + offset, -1e30))


@jax.jit
def draw(weights: Weights, allowed_DK: jax.Array, draws_D: jax.Array) -> jax.Array:
  """Draws decisions, [D], by inverse transform sampling from uniform numbers in [0, 1). A decision is -1 where probabilities are nan."""

  def choose(carry: Carry, xs: tuple[jax.Array, ...]) -> tuple[Carry, jax.Array]:
    head, offset, allowed_K, number, uniform = xs
    hidden, memory, log_p = _step(weights, carry, head, offset, allowed_K)
    cumulative = jnp.cumsum(jnp.exp(log_p))
    decision = jnp.sum(uniform * cumulative[-1] >= cumulative)
    decision = jnp.minimum(decision, jnp.sum(allowed_K) - 1)
    return (hidden, memory, _next_input(weights, number, decision)), jnp.where(jnp.isnan(cumulative[-1]), -1, decision)

  numbers = jnp.arange(len(draws_D))
  return jax.lax.scan(choose, _start(weights), (weights["heads"], weights["offsets"], allowed_DK, numbers, draws_D))[1]


@jax.jit
def log_probabilities(weights: Weights, allowed_DK: jax.Array, decisions_D: jax.Array) -> jax.Array:
  """Returns the log-probabilities of all values of every decision, given the previous decisions, [D, K]."""

  def follow(carry: Carry, xs: tuple[jax.Array, ...]) -> tuple[Carry, jax.Array]:
    head, offset, allowed_K, number, decision = xs
    hidden, memory, log_p = _step(weights, carry, head, offset, allowed_K)
    return (hidden, memory, _next_input(weights, number, decision)), log_p

  numbers = jnp.arange(len(decisions_D))
  return jax.lax.scan(follow, _start(weights), (weights["heads"], weights["offsets"], allowed_DK, numbers, decisions_D))[1]


def _next_input(weights: Weights, number: jax.Array, decision: jax.Array) -> jax.Array:
  """Returns the embedding of a decision, [H]; the embedding of the last decision is never used."""
  following = jnp.minimum(number + 1, weights["inputs"].shape[0] - 1)
  return weights["inputs"][following, decision]


@jax.jit
def _update(
  weights: Weights, optimizer: optax.OptState, allowed_DK: jax.Array, decisions_D: jax.Array, settings: jax.Array
) -> tuple[Weights, optax.OptState]:
  advantage, entropy_weight, learning_rate = settings

  def loss(weights: Weights) -> jax.Array:
    log_p = log_probabilities(weights, allowed_DK, decisions_D)
    taken = jnp.take_along_axis(log_p, decisions_D[:, None], -1).sum()
    entropy = -jnp.where(allowed_DK, jnp.exp(log_p) * log_p, 0.0).sum()
    return -advantage * taken - entropy_weight * entropy

  updates, optimizer = optax.adam(learning_rate).update(jax.grad(loss)(weights), optimizer)
  return optax.apply_updates(weights, updates), optimizer  # pyright: ignore[reportReturnType]  # of the tree of `weights`
