"""NAO: moves architectures in a continuous latent space along the gradient of a predicted score.

Source: Luo, Tian, Qin, Chen and Liu, "Neural Architecture Optimization", NeurIPS 2018, algorithm 1. The first population is random. Each
round then trains encoder, predictor and decoder (`nao_network`) from scratch on all results. It moves the latents of the best architectures
along the gradient of the predicted score, with growing step lengths, until it has decoded enough new architectures. These are asked next.

Two things differ from the paper. The predictor learns the rank of a score among all scores, from 0 to 1, instead of the score itself:
otherwise a few very low scores would take up its range. A step has a given length in the latent space, instead of a multiple of the
gradient, since the predictor's sigmoid lets the gradient vanish.
"""

import dataclasses
import math

import numpy as np

from dnas.core.config import check, check_at_most, check_fraction, check_positive, check_types
from dnas.core.errors import FieldError
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import DecisionSpace, Space
from dnas.search.blackbox import nao_network
from dnas.search.blackbox.base import STRATEGIES, generator
from dnas.search.blackbox.decisions import allowed_values, of_decisions

Decisions = tuple[int, ...]

_TRIES = 100  # attempts to draw a random architecture that was not asked yet


@STRATEGIES.register("nao")
@dataclasses.dataclass(frozen=True)
class Config:
  """Rounds, networks and their training.

  Attributes:
    population: random architectures before the first round.
    seeds: number of best architectures that are moved in a round.
    children: new architectures per round; if the steps find fewer, the rest is drawn at random.
    step: increment of the step length in the latent space; each state of a latent has length 1.
    max_steps: number of step lengths that a round tries.
    hidden: units of both LSTMs, and size of the embeddings.
    trade_off: weight of the predictor's loss; the decoder's loss has weight 1 - trade_off.
    learning_rate: learning rate of Adam.
    training_steps: training steps per round.
    batch: architectures in a training batch.
  """

  population: int = 40
  seeds: int = 20
  children: int = 20
  step: float = 0.2
  max_steps: int = 40
  hidden: int = 48
  trade_off: float = 0.9
  learning_rate: float = 3e-3
  training_steps: int = 200
  batch: int = 32

  def __post_init__(self):
    check_types(self)
    positive = ("population", "seeds", "children", "step", "max_steps", "hidden", "learning_rate", "training_steps", "batch")
    check_positive(**{name: getattr(self, name) for name in positive})
    check_at_most(1e6, step=self.step, learning_rate=self.learning_rate)
    check_at_most(10**4, hidden=self.hidden)
    check_at_most(10**6, population=self.population, seeds=self.seeds, children=self.children, batch=self.batch)
    check(self.population >= 2, "population", self.population, "it must be at least 2, so that one can be better than another")
    check_fraction(trade_off=self.trade_off)

  def on(self, space: Space) -> "Nao":
    """See `base.Settings`."""
    return Nao(of_decisions(space), self, allowed_values(of_decisions(space)))


@dataclasses.dataclass(frozen=True)
class State:
  """The state of NAO.

  Attributes:
    seed: seed of all draws.
    asked: architectures in the order in which they were asked.
    told: architectures and scores in the order in which they were told, without failed trainings.
    queue: architectures from the last round that were not asked yet.
  """

  seed: int
  asked: tuple[Decisions, ...] = ()
  told: tuple[tuple[Decisions, float], ...] = ()
  queue: tuple[Decisions, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Nao:
  """NAO (a `base.Strategy`). It never waits: a round learns from the results told so far.

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
    return State(seed)

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Proposes the round's next architecture, or starts a round; see `base.Strategy`. Raises FieldError if network outputs are nan."""
    queue = state.queue
    if not queue:
      rng = generator(state.seed, len(state.asked))
      begins = len(state.asked) >= self.config.population and len(state.told) >= 2
      queue = self._round(state, rng) if begins else (self._unseen(set(state.asked), rng),)
    proposal = Proposal(self.space.decode(queue[0]))
    return proposal, dataclasses.replace(state, asked=(*state.asked, queue[0]), queue=queue[1:])

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`."""
    if not math.isfinite(evaluation.score):
      return state
    return dataclasses.replace(state, told=(*state.told, (self.space.encode(proposal.genotype), evaluation.score)))

  def _round(self, state: State, rng: np.random.Generator) -> tuple[Decisions, ...]:
    """Trains the networks and returns the architectures to ask next."""
    config, scores = self.config, dict(state.told)
    decisions, ranks = np.array(list(scores), np.int32), _ranks(np.array(list(scores.values())))
    drawn = rng.integers(len(decisions), size=(config.training_steps, config.batch))
    num_decisions, num_values = self.allowed.shape
    weights = nao_network.initial(rng, num_decisions, num_values, config.hidden)
    rates = np.float32(config.trade_off), np.float32(config.learning_rate)
    weights, _ = nao_network.train(weights, self.allowed, decisions[drawn], ranks[drawn], *rates)
    best = np.argsort(-ranks, kind="stable")[np.arange(config.seeds) % min(config.seeds, len(ranks))]
    seen, children = set(state.asked), []
    for number in range(1, config.max_steps + 1):
      moved = np.asarray(nao_network.improved(weights, self.allowed, decisions[best], np.float32(number * config.step)))
      if (moved < 0).any():
        raise FieldError("nao.learning_rate", config.learning_rate, "the networks became non-finite; lower it, or nao.step")
      for child in map(tuple, moved.tolist()):
        if child not in seen and len(children) < config.children:
          seen.add(child)
          children.append(child)
      if len(children) == config.children:
        return tuple(children)
    while len(children) < config.children:
      children.append(self._unseen(seen, rng))
      seen.add(children[-1])
    return tuple(children)

  def _unseen(self, seen: set[Decisions], rng: np.random.Generator) -> Decisions:
    """Draws a random architecture, and repeats up to `_TRIES` times until it is new. The last draw may not be new."""
    for _ in range(_TRIES):
      decisions = self.space.encode(self.space.sample(rng))
      if decisions not in seen:
        break
    return decisions


def _ranks(scores: np.ndarray) -> np.ndarray:
  """Returns the rank of every score in [0, 1], [n]: the share of the other scores below it, with equal scores counted half."""
  below = (scores[None] < scores[:, None]).sum(-1)
  equal = (scores[None] == scores[:, None]).sum(-1) - 1
  return ((below + equal / 2) / max(len(scores) - 1, 1)).astype(np.float32)
