"""A study: runs one black-box strategy on one evaluator until a budget of accelerator seconds is spent.

`run` is a generator of journal entries (proposal, evaluation). An interrupted study resumes from its journal, since `replay` restores the
strategy's state from it. The anytime curves are computed from the journal too.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dnas.core import durable, pareto
from dnas.core.errors import FieldError, InputError, shown
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.evaluate.base import Evaluator
from dnas.search.blackbox.base import Strategy, replay, score_of

Entry = tuple[Proposal, Evaluation]
"""One entry of a journal: a proposal and its evaluation."""


def run(strategy: Strategy, evaluator: Evaluator, seed: int, seconds: float, journal: Sequence[Entry] = ()) -> Iterator[Entry]:
  """Asks, evaluates and tells in a loop, and yields every new entry of the journal.

  The study ends before the first evaluation that exceeds the budget; that evaluation is not yielded.

  Args:
    strategy: the strategy.
    evaluator: the evaluator; every evaluation must have a positive cost, or the study would not end.
    seed: seed of the strategy.
    seconds: the budget, in accelerator seconds.
    journal: the entries that an earlier, interrupted run of the same study yielded.

  Raises:
    FieldError: if the budget is smaller than the cost of the first evaluation.
    InputError: if the budget is not above zero, an evaluation costs nothing, or the journal is not of this strategy and seed.
  """
  if not seconds > 0:
    raise InputError(f"the budget is {shown(seconds)} seconds; it must be above zero.")
  state, spent, count = replay(strategy, seed, journal), sum(evaluation.cost for _, evaluation in journal), len(journal)
  while True:
    proposal, state = strategy.ask(state)
    evaluation = evaluator(proposal)
    if not evaluation.cost > 0:
      raise InputError(f"an evaluation of {proposal.genotype} cost {evaluation.cost} seconds; the cost must be above zero.")
    spent += evaluation.cost
    if spent > seconds:
      if not count:
        raise FieldError("seconds", seconds, f"the first evaluation costs {evaluation.cost:,.4g}, so give more")
      return
    count += 1
    yield proposal, evaluation
    state = strategy.tell(state, proposal, evaluation)


class Incumbent(NamedTuple):
  """A step of the anytime curve.

  Attributes:
    seconds: accelerator seconds spent when the architecture was found.
    score: its validation score.
    genotype: the architecture.
    trial: number of evaluations before it.
  """

  seconds: float
  score: float
  genotype: Genotype
  trial: int


def incumbents(journal: Iterable[Entry], violation: Callable[[Evaluation], float] = lambda evaluation: 0.0) -> list[Incumbent]:
  """Returns the anytime curve: the best architecture so far, at each change. The last one is the result of the study.

  Scores are compared only at the largest budget (epochs) so far, since scores of shorter trainings are not comparable. Of equal scores the
  first one stays. A failed training is never the best.

  Args:
    journal: the entries of a study.
    violation: maps an evaluation to the amount by which its network is over a limit. The smallest amount is better than any score.
  """
  out: list[Incumbent] = []
  spent, best = 0.0, (-math.inf, -math.inf, -math.inf)
  for trial, (proposal, evaluation) in enumerate(journal):
    spent += evaluation.cost
    key = (math.inf if proposal.budget is None else float(proposal.budget), -violation(evaluation), score_of(evaluation))
    if key > best and key[-1] > -math.inf:
      best = key
      out.append(Incumbent(spent, evaluation.score, proposal.genotype, trial))
  return out


def front(journal: Sequence[Entry], costs: Sequence[str]) -> list[Entry]:
  """Returns the entries that no other one dominates, by the score, which is maximized, and the costs, which are minimized.

  No failed training counts, and of the others only the longest of the journal, as in `incumbents`. Of equal entries the first one stays.

  Args:
    journal: the entries of a study.
    costs: names of costs, which the evaluations have in their metrics.
  """
  ended = [entry for entry in journal if score_of(entry[1]) > -math.inf]
  lengths = [math.inf if proposal.budget is None else proposal.budget for proposal, _ in ended]
  known = [entry for entry, length in zip(ended, lengths, strict=True) if length == max(lengths)]
  points = [[-evaluation.score, *(evaluation.metrics[name] for name in costs)] for _, evaluation in known]
  return [known[number] for number in pareto.front(np.reshape(points, (len(known), 1 + len(costs))))]


def to_line(entry: Entry) -> str:
  """Returns an entry as one line of JSON, for a journal on disk. `from_lines` parses it."""
  proposal, evaluation = entry
  asked = {"genotype": json.loads(proposal.genotype.to_json()), "budget": proposal.budget, "parent": proposal.parent}
  return json.dumps({**asked, "score": evaluation.score, "cost": evaluation.cost, "metrics": dict(evaluation.metrics)}) + "\n"


def from_lines(text: str, space: Space, where: str, costs: Iterable[str] = ()) -> list[Entry]:
  """Parses a journal. Ignores an incomplete last line, as a killed study leaves it (`dnas.core.durable.whole_lines`).

  Args:
    text: the lines, from `to_line`.
    space: the space of the architectures.
    where: name of the input in error messages, for instance its file.
    costs: names of the costs that the metrics of every entry have.

  Raises:
    InputError: for a line that is not a valid entry, or lacks a cost.
  """
  out = []
  for number, line in enumerate(durable.whole_lines(text), start=1):
    here = f"{where}, line {number}"
    try:
      fields = json.loads(line)
      genotype, *asked = (fields[name] for name in ("genotype", "budget", "parent"))
      answered = [fields[name] for name in ("score", "cost", "metrics")]
    except (ValueError, KeyError, TypeError, RecursionError):
      raise InputError(f"{here}: {shown(line)} is not an entry of a journal; {_HINT}.") from None
    genotype = space.validate(space.parse(genotype, here), where=here)
    try:
      out.append((Proposal(genotype, *asked), Evaluation(*answered)))
    except InputError as e:
      raise InputError(f"{here}: {str(e).partition(';')[0]}, so it is not an entry of a journal; {_HINT}.") from None
    for name in costs:
      if not 0 <= (cost := out[-1][1].metrics.get(name, math.nan)) < math.inf:
        told = f"it has {shown(cost)} {name}" if name in out[-1][1].metrics else f"it lacks {name}"
        raise InputError(f"{here}: {told}, so it is not an entry of this journal; {_HINT}.")
  return out


_HINT = "remove the file to start the study anew"
