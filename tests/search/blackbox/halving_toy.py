"""What the tests of successive halving share: a scripted strategy, and an evaluator that resumes trainings from checkpoints."""

from typing import NamedTuple

from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.core.trials import trial_id

SPACE = CellSpace("toy", ("c",), tuple("abcdefghijklmnopqrstuvwxyz"), num_inputs=1, num_nodes=2, edges_per_node=2)


def architecture(letter: str) -> Genotype:
  return Genotype("letters", (("c", CellGenotype(((Edge(letter, 0),),), (1,))),))


def letter(proposal: Proposal) -> str:
  return proposal.genotype["c"].nodes[0][0].operation


ScriptedState = tuple[int, tuple[tuple[Proposal, float], ...]]


class Scripted(NamedTuple):
  """A strategy that proposes what a script says, and whose state is (how many it proposed, what it was told)."""

  script: str

  def init(self, seed: int) -> ScriptedState:
    return 0, ()

  def ask(self, state: ScriptedState) -> tuple[Proposal, ScriptedState]:
    return Proposal(architecture(self.script[state[0]])), (state[0] + 1, state[1])

  def tell(self, state: ScriptedState, proposal: Proposal, evaluation: Evaluation) -> ScriptedState:
    return state[0], (*state[1], (proposal, evaluation.score))


class Resuming:
  """Trains architectures for as many seconds as they need epochs, from the checkpoint of the trial they resume."""

  def __init__(self, scores: dict[str, float]):
    self.scores, self.checkpoints = scores, {}

  def __call__(self, proposal: Proposal) -> Evaluation:
    trained = 0
    if proposal.parent is not None:
      genotype, trained = self.checkpoints[proposal.parent]
      assert genotype == proposal.genotype and trained < proposal.budget
    self.checkpoints[trial_id(proposal)] = proposal.genotype, proposal.budget
    return Evaluation(self.scores[letter(proposal)], float(proposal.budget - trained), {})
