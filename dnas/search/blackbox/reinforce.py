"""REINFORCE with an independent softmax for every decision of the space, trained by policy gradients.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine Learning 1992. The
form is that of the baseline in Dong and Yang, "NAS-Bench-201", ICLR 2020: Adam, and a moving average of the scores as the baseline. The
learning rate is that of the published commands of Dong et al., "NATS-Bench", TPAMI 2021, for the same space.

The gradient of the log-probability has a closed form, so an update takes a few NumPy operations.
"""

import dataclasses
import math

import jax
import numpy as np

from dnas.core.config import check_at_most, check_fraction, check_not_negative, check_positive, check_types
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import DecisionSpace, Space
from dnas.search.blackbox.base import STRATEGIES, generator
from dnas.search.blackbox.decisions import allowed_values, of_decisions


@STRATEGIES.register("reinforce")
@dataclasses.dataclass(frozen=True)
class Config:
  """Policy and optimizer.

  Attributes:
    learning_rate: learning rate of Adam.
    beta1: decay of Adam's first moment.
    beta2: decay of Adam's second moment.
    baseline_decay: decay of the moving average of the scores; it starts at the first score.
    init_scale: standard deviation of the initial logits.
  """

  learning_rate: float = 0.01
  beta1: float = 0.9
  beta2: float = 0.999
  baseline_decay: float = 0.9
  init_scale: float = 1e-3

  def __post_init__(self):
    check_types(self)
    check_positive(learning_rate=self.learning_rate)
    check_not_negative(init_scale=self.init_scale)
    check_at_most(1e6, learning_rate=self.learning_rate, init_scale=self.init_scale)
    check_fraction(beta1=self.beta1, beta2=self.beta2, baseline_decay=self.baseline_decay)

  def on(self, space: Space) -> "Reinforce":
    """See `base.Settings`."""
    return Reinforce(of_decisions(space), self, allowed_values(of_decisions(space)))


def advantage_over(baseline: float, score: float, decay: float, told: int) -> tuple[float, float]:
  """Returns the moving average of the scores after this score, and the advantage: the score minus the bias-corrected average.

  Args:
    baseline: the previous average, without the correction for its start at zero.
    score: the score; clipped to +-10^15, so that its square is finite in float32.
    decay: decay of the average.
    told: number of scores so far, including this one.
  """
  score = min(max(score, -_LARGEST_SCORE), _LARGEST_SCORE)
  baseline = decay * baseline + (1 - decay) * score
  return baseline, score - baseline / (1 - decay**told)


_LARGEST_SCORE = 1e15


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class State:
  """A policy and its optimizer; a tree of arrays. D decisions, each with up to K values.

  Attributes:
    seed: seed of all draws.
    asked: number of proposals asked.
    told: number of proposals told, without failed trainings.
    logits: logits of the policy, [D, K]; minus infinity for values that a decision does not have.
    first: Adam's first moments, [D, K].
    second: Adam's second moments, [D, K].
    baseline: moving average of the scores, without the correction for its start at zero.
  """

  seed: int
  asked: int
  told: int
  logits: np.ndarray
  first: np.ndarray
  second: np.ndarray
  baseline: float


@dataclasses.dataclass(frozen=True, eq=False)
class Reinforce:
  """REINFORCE with independent logits (a `base.Strategy`).

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
    noise = self.config.init_scale * generator(seed, 0).standard_normal(self.allowed.shape)
    zeros = np.zeros(self.allowed.shape)
    return State(seed, 0, 0, np.where(self.allowed, noise, -np.inf), zeros, zeros, 0.0)

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Draws every decision from its softmax; see `base.Strategy`."""
    asked = state.asked + 1
    cumulative = self.probabilities(state).cumsum(-1)
    draws = generator(state.seed, asked).random((len(cumulative), 1)) * cumulative[:, -1:]
    decisions = (draws >= cumulative).sum(-1)
    return Proposal(self.space.decode(decisions.tolist())), dataclasses.replace(state, asked=asked)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Takes one step of Adam on -(score - baseline) log p(decisions), or none if the training failed; see `base.Strategy`."""
    if not math.isfinite(evaluation.score):
      return state
    config, told = self.config, state.told + 1
    baseline, advantage = advantage_over(state.baseline, evaluation.score, config.baseline_decay, told)
    gradient = advantage * self.surprise(state, proposal)
    first = config.beta1 * state.first + (1 - config.beta1) * gradient
    second = config.beta2 * state.second + (1 - config.beta2) * gradient**2
    step = first / (1 - config.beta1**told) / (np.sqrt(second / (1 - config.beta2**told)) + 1e-8)
    return State(state.seed, state.asked, told, state.logits - config.learning_rate * step, first, second, baseline)

  def probabilities(self, state: State) -> np.ndarray:
    """Returns the policy, [D, K]; zero for values that a decision does not have."""
    weights = np.exp(state.logits - state.logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)

  def surprise(self, state: State, proposal: Proposal) -> np.ndarray:
    """Returns the gradient of -log p(decisions) with respect to the logits: the probabilities minus the one-hot decisions, [D, K]."""
    gradient = self.probabilities(state)
    gradient[np.arange(len(gradient)), self.space.encode(proposal.genotype)] -= 1
    return gradient
