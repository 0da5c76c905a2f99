"""Hill climbing by network morphisms (NASH): children of the current network inherit its weights, all are trained, and the best goes on.

Source: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks", 2017, algorithm 1: eight
neighbours, one of them the unchanged network, the others after five morphisms drawn at random. The evaluator trains every neighbour for the
same number of epochs, with the learning rate on a cosine to zero. It finds the weights by the parent that a proposal names.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np

from dnas.core.chain_space import ChainSpace
from dnas.core.config import check, check_at_most, check_positive, check_types
from dnas.core.errors import InputError
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.core.spaces import Space
from dnas.core.trials import trial_id
from dnas.nets.morphisms.cells import is_exact
from dnas.nets.morphisms.chain import MORPHISMS
from dnas.search.blackbox.base import STRATEGIES, generator, score_of


@STRATEGIES.register("hill_climbing")
@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of hill climbing.

  Attributes:
    neighbours: number of networks of a step, the unchanged one included.
    morphisms: number of morphisms that lead to a neighbour.
    approximate: whether morphisms that change the function are drawn too. They are also drawn where no exact one is possible.
  """

  neighbours: int = 8
  morphisms: int = 5
  approximate: bool = False

  names_parents: ClassVar[bool] = True

  def __post_init__(self):
    check_types(self)
    check_positive(morphisms=self.morphisms)
    check(self.neighbours >= 2, "neighbours", self.neighbours, "one of them is the unchanged network, so give at least 2")
    check_at_most(10**4, neighbours=self.neighbours, morphisms=self.morphisms)

  def on(self, space: Space) -> "HillClimbing":
    """Returns the strategy on a space of cells or of chains. Raises InputError for a space of another kind."""
    if not isinstance(space, CellSpace | ChainSpace):
      raise InputError(f"space '{space.name}' has no morphisms; hill_climbing searches spaces of cells and of chains.")
    return HillClimbing(self, space)


class Member(NamedTuple):
  """A trained network: its score, the id of its trial, its architecture."""

  score: float
  trial: str
  genotype: Genotype


class State(NamedTuple):
  """The state of hill climbing.

  Attributes:
    seed: seed of the search.
    asked: number of proposals asked.
    current: the network whose neighbours are evaluated; None until the first network is told.
    in_step: number of proposals asked in this step.
    told: the neighbours told in this step.
  """

  seed: int
  asked: int
  current: Member | None
  in_step: int
  told: tuple[Member, ...]


class HillClimbing:
  """Hill climbing (a `base.Strategy`).

  It begins with the smallest chain of a space of chains, and with a random architecture of a space of cells. A worker that asks while
  all neighbours of a step are in training gets a further one. A step ends when enough neighbours are told. Later results are ignored.
  """

  def __init__(self, config: Config, space: CellSpace | ChainSpace):
    """Searches the space."""
    self._config, self._space = config, space

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(seed, 0, None, 0, ())

  def ask(self, state: State) -> tuple[Proposal, State]:
    """See `base.Strategy`."""
    rng, after = generator(state.seed, state.asked), state._replace(asked=state.asked + 1, in_step=state.in_step + 1)
    if state.current is None:
      first = self._space.smallest() if isinstance(self._space, ChainSpace) else self._space.sample(generator(state.seed, 0))
      return Proposal(first), after
    unchanged = state.in_step == self._config.neighbours - 1
    genotype = state.current.genotype if unchanged else self._child(state.current.genotype, rng)
    return Proposal(genotype, parent=state.current.trial), after

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`."""
    member = Member(score_of(evaluation), trial_id(proposal), proposal.genotype)
    if state.current is None:
      return state._replace(current=member, in_step=0)
    if proposal.parent != state.current.trial:
      return state
    told = (*state.told, member)
    if len(told) < self._config.neighbours:
      return state._replace(told=told)
    return state._replace(current=max(told, key=lambda one: one.score), in_step=0, told=())

  def _child(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
    for _ in range(self._config.morphisms):
      choices = self._near(genotype)
      if not choices:  # the space has a single architecture
        break
      exact = [group for group in choices if group[0]]
      groups = choices if self._config.approximate or not exact else exact
      _, members = groups[rng.integers(len(groups))]
      genotype = members[rng.integers(len(members))]
    return genotype

  def _near(self, genotype: Genotype) -> list[tuple[bool, list[Genotype]]]:
    """Returns the architectures that one morphism leads to, by kinds of morphisms, each with whether it is exact."""
    space, groups = self._space, dict[str, tuple[bool, list[Genotype]]]()
    if isinstance(space, ChainSpace):
      for edit in space.edits(genotype):
        groups.setdefault(edit.kind, (MORPHISMS[edit.kind].exact, []))[1].append(space.edited(genotype, edit))
    else:
      for other in space.neighbours(genotype):
        exact = is_exact(genotype, other, space.num_inputs)
        groups.setdefault(str(exact), (exact, []))[1].append(other)
    return list(groups.values())
