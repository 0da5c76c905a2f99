"""A study: one black-box strategy against one evaluator, until a budget of accelerator seconds is spent.

The loop is a generator of what was asked and answered. Those entries are the journal: with it, a study goes on where it was broken off,
since replay brings the strategy back; and from it come the anytime curves.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dnas.core import durable
from dnas.core.errors import InputError, shown
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.evaluate.base import Evaluator
from dnas.search.blackbox.base import Strategy, replay, score_of

Entry = tuple[Proposal, Evaluation]
"""One line of a journal."""


def run(strategy: Strategy, evaluator: Evaluator, seed: int, seconds: float, journal: Sequence[Entry] = ()) -> Iterator[Entry]:
  """Asks, evaluates and tells, and yields every entry after those of the journal.

  The study ends with the last evaluation that its budget holds; the one after it is not yielded.

  Args:
    strategy: what chooses.
    evaluator: what answers; every evaluation must cost something, or the study would not end.
    seed: of the strategy.
    seconds: the budget, in accelerator seconds.
    journal: what an earlier, broken-off run of the same study yielded.

  Raises:
    InputError: if the budget is smaller than the first evaluation, an evaluation costs nothing, or the journal is not of this strategy and
      seed.
  """
  if not seconds > 0:
    raise InputError(f"the budget is {shown(seconds)} seconds; it must be above zero.")
  state, spent, count = replay(strategy, seed, journal), sum(evaluation.cost for _, evaluation in journal), len(journal)
  while True:
    proposal, state = strategy.ask(state)
    evaluation = evaluator(proposal)
    if not evaluation.cost > 0:
      raise InputError(f"an evaluation of {proposal.genotype} cost {evaluation.cost} seconds; it must cost something to spend a budget.")
    spent += evaluation.cost
    if spent > seconds:
      if not count:
        raise InputError(f"the budget is {seconds} seconds, and the first evaluation costs {evaluation.cost:.1f}; give at least that.")
      return
    count += 1
    yield proposal, evaluation
    state = strategy.tell(state, proposal, evaluation)


class Incumbent(NamedTuple):
  """A step of the anytime curve.

  Attributes:
    seconds: accelerator seconds spent when it was found.
    score: its validation score.
    genotype: the architecture.
    trial: how many evaluations came before.
  """

  seconds: float
  score: float
  genotype: Genotype
  trial: int


def incumbents(journal: Iterable[Entry]) -> list[Incumbent]:
  """Returns the anytime curve: the best architecture so far, each time that it changes; the last one is what the study ends in.

  Scores are compared within the largest budget (epochs) that any architecture had so far, since those of shorter trainings mean something
  else; of equal scores the first one stays, and a training that failed is never the best.
  """
  out: list[Incumbent] = []
  spent, best = 0.0, (-math.inf, -math.inf)
  for trial, (proposal, evaluation) in enumerate(journal):
    spent += evaluation.cost
    key = (math.inf if proposal.budget is None else float(proposal.budget), score_of(evaluation))
    if key > best and key[1] > -math.inf:
      best = key
      out.append(Incumbent(spent, evaluation.score, proposal.genotype, trial))
  return out


def to_line(entry: Entry) -> str:
  """Returns an entry as one line of JSON, for a journal on disk; `from_lines` reads it back."""
  proposal, evaluation = entry
  asked = {"genotype": json.loads(proposal.genotype.to_json()), "budget": proposal.budget, "parent": proposal.parent}
  return json.dumps({**asked, "score": evaluation.score, "cost": evaluation.cost, "metrics": dict(evaluation.metrics)}) + "\n"


def from_lines(text: str, space: CellSpace, where: str) -> list[Entry]:
  """Reads a journal, without what was being written when the study was killed (`dnas.core.durable.whole_lines`).

  Args:
    text: the lines of `to_line`.
    space: what the architectures must belong to.
    where: how an error names the input, for instance its file.

  Raises:
    InputError: for a line that is no entry.
  """
  out = []
  for number, line in enumerate(durable.whole_lines(text), start=1):
    here = f"{where}, line {number}"
    try:
      fields = json.loads(line)
      genotype, *asked = (fields[name] for name in ("genotype", "budget", "parent"))
      answered = [fields[name] for name in ("score", "cost", "metrics")]
    except (ValueError, KeyError, TypeError, RecursionError):
      raise InputError(f"{here}: {shown(line)} is no entry of a journal; {_MEND}.") from None
    genotype = space.validate(space.parse(genotype, here), where=here)
    try:
      out.append((Proposal(genotype, *asked), Evaluation(*answered)))
    except InputError as e:
      raise InputError(f"{here}: {str(e).partition(';')[0]}, so it is no entry of a journal; {_MEND}.") from None
  return out


_MEND = "remove the file, and the study starts anew"
