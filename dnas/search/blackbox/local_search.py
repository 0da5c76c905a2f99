"""Local search: moves to the best neighbour until no neighbour is better, then restarts from a random architecture.

Source: White, Nolen and Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021, algorithm 1. Neighbours differ in
one edge. Architectures that were proposed before are skipped while there are others: a climb that meets an earlier one would repeat it.
"""

import dataclasses
from typing import NamedTuple

from dnas.core.config import check, check_types
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.search.blackbox.base import STRATEGIES, generator, score_of

_DRAWS = 100  # attempts to draw a starting point that was not proposed before


@STRATEGIES.register("local_search")
@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of local search.

  Attributes:
    step: 'best' evaluates all neighbours and moves to the best one, as in algorithm 1; 'first' moves as soon as one is better.
  """

  step: str = "best"

  def __post_init__(self):
    check_types(self)
    check(self.step in ("best", "first"), "step", self.step, "it can be best or first")

  def on(self, space: Space) -> "LocalSearch":
    """Returns the strategy on a space."""
    return LocalSearch(self, space)


class State(NamedTuple):
  """The state of local search.

  Attributes:
    seed: seed of the search.
    asked: number of proposals asked.
    centre: the architecture whose neighbours are evaluated, with its score; None at the start of a climb.
    best: the best neighbour so far, with its score; None if no neighbour was told.
    queue: the neighbours to ask.
    seen: all architectures asked so far.
  """

  seed: int
  asked: int
  centre: tuple[Genotype, float] | None
  best: tuple[Genotype, float] | None
  queue: tuple[Genotype, ...]
  seen: frozenset[Genotype]


class LocalSearch:
  """Local search with random restarts (a `base.Strategy`)."""

  def __init__(self, config: Config, space: Space):
    """Searches the space."""
    self._config, self._space = config, space

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(seed, 0, None, None, (), frozenset())

  def ask(self, state: State) -> tuple[Proposal, State]:
    """See `base.Strategy`."""
    state = state if state.queue else self._moved(state)
    if state.queue:
      genotype, state = state.queue[0], state._replace(queue=state.queue[1:])
    else:
      genotype, state = self._start(state), state._replace(centre=None, best=None)
    return Proposal(genotype), state._replace(asked=state.asked + 1, seen=state.seen | {genotype})

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`."""
    told = (proposal.genotype, score_of(evaluation))
    if state.centre is None:
      return self._around(state, told)
    better = state.best is None or told[1] > state.best[1]
    hurry = self._config.step == "first" and told[1] > state.centre[1]
    return state._replace(best=told if better else state.best, queue=() if hurry else state.queue)

  def _moved(self, state: State) -> State:
    """Moves to the best neighbour if it beats the centre. The queue stays empty if it does not, or if it has no new neighbours."""
    if state.centre is None or state.best is None or state.best[1] <= state.centre[1]:
      return state
    return self._around(state, state.best)

  def _around(self, state: State, centre: tuple[Genotype, float]) -> State:
    neighbours = [genotype for genotype in self._space.neighbours(centre[0]) if genotype not in state.seen]
    queue = tuple(neighbours[place] for place in generator(state.seed, state.asked).permutation(len(neighbours)).tolist())
    return state._replace(centre=centre, best=None, queue=queue)

  def _start(self, state: State) -> Genotype:
    rng = generator(state.seed, state.asked)
    for _ in range(_DRAWS):
      genotype = self._space.sample(rng)
      if genotype not in state.seen:
        break
    return genotype
