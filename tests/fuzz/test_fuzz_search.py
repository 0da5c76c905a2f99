"""Black-box strategies with any settings, scores and orders, studies, their journals, and simulated workers.

`fuzz_units` says what holds, and how to run this for longer by hand. A strategy is tried here as soon as it is registered.
"""

import dataclasses
import itertools
import json
import math
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuzz_units import ANYTHING, FLOATS, REFUSED, WHOLE, edited, fuzzed, outcome
from hypothesis import strategies as st

from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.search.blackbox import rungs, simulated_workers, study
from dnas.search.blackbox.base import Strategy, replay, score_of
from dnas.search.blackbox.strategies import STRATEGIES

EDGES = CellSpace("edges", ("c",), ("none", "a", "b"), num_inputs=1, num_nodes=2, none_allowed=True)
SOURCES = CellSpace("sources", ("normal", "reduce"), ("none", "skip_connect", "a"), num_nodes=2, edges_per_node=1)
SINGLE = CellSpace("single", ("c",), ("none", "a"), num_inputs=1, num_nodes=1)
SPACES = st.sampled_from((EDGES, SOURCES) * 4 + (SINGLE,))

SCORES = st.sampled_from((0.0, 1.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e300, -1.7e308, 1e-320)) | st.floats() | st.floats(0, 100)

SHAPES = {"hidden": 4, "training_steps": 2, "batch": 3, "seeds": 2, "children": 3}
"""Settings by which programs are compiled, always of these values."""
COSTS = dict.fromkeys(("best", "first", *rungs.names(), *STRATEGIES), 1.0)
"""Metrics of every evaluation: a limit may be of any name that a setting takes here."""
SMALL = SHAPES | {"population": 3, "tournament": 2, "startup": 2, "max_steps": 2}
"""Settings that let a strategy learn within a few asks."""


def settings_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
  """Returns settings of a strategy, up to two of them of any value, which it may refuse."""
  hints = typing.get_type_hints(STRATEGIES[name])
  kinds = {
    bool: st.booleans(),
    int: st.integers(1, 5),
    float: st.floats(0, 1) | FLOATS,
    str: st.sampled_from(tuple(COSTS)),
    tuple[int, ...]: st.lists(st.integers(1, 9), max_size=3, unique=True).map(sorted).map(tuple) | st.just((3, 3)),
  }
  names = [field.name for field in dataclasses.fields(STRATEGIES[name])]
  fixed = {field: value for field, value in SMALL.items() if field in names}
  free = [field for field in names if field not in SHAPES]
  values = {field: kinds[hints[field]] for field in free}
  some = st.lists(st.sampled_from(free), max_size=2, unique=True) if free else st.just([])
  return some.flatmap(lambda chosen: st.fixed_dictionaries({field: values[field] for field in chosen})).map(lambda found: fixed | found)


def made(name: str, settings: dict[str, Any], space: CellSpace) -> Strategy:
  return STRATEGIES[name](**settings).on(space)


def check_proposal(space: CellSpace, proposal: Proposal) -> None:
  assert space.decode(space.encode(space.validate(proposal.genotype))) == proposal.genotype
  assert proposal.budget is None or proposal.budget > 0


@pytest.mark.parametrize("name", list(STRATEGIES))
@fuzzed(15, data=st.data(), seed=st.integers(0, 2**32 - 1) | st.integers(0, 9) | WHOLE, space=SPACES)
def test_a_strategy_asks_architectures_whatever_it_is_told(name: str, data: st.DataObject, seed: int, space: CellSpace):
  """In any order, and more than one at a time; a state is a value, so it asks the same again."""
  strategy = outcome(made, name, data.draw(settings_of(name)), space)
  state = strategy if strategy is REFUSED else outcome(strategy.init, seed)
  running: list[Proposal] = []
  for _ in range(data.draw(st.integers(0, 16)) if state is not REFUSED else 0):
    waits = isinstance(strategy, simulated_workers.Synchronous) and strategy.waits(state)
    if running and (waits or data.draw(st.booleans())):
      proposal = running.pop(data.draw(st.integers(0, len(running) - 1)))
      state = strategy.tell(state, proposal, Evaluation(data.draw(SCORES), 1.0, COSTS))
      continue
    asked = outcome(strategy.ask, state)
    if asked is REFUSED:
      break
    check_proposal(space, asked[0])
    if data.draw(st.integers(0, 3)) == 0:
      assert strategy.ask(state)[0] == asked[0]
    state = asked[1]
    running.append(asked[0])


@pytest.mark.parametrize("name", list(STRATEGIES))
@fuzzed(5, data=st.data(), seed=st.integers(0, 2**32 - 1), space=SPACES)
def test_a_study_goes_on_from_its_journal(name: str, data: st.DataObject, seed: int, space: CellSpace):
  strategy = outcome(made, name, data.draw(settings_of(name)), space)
  scores = data.draw(st.lists(SCORES, min_size=1, max_size=14))
  if strategy is REFUSED:
    return
  numbers = itertools.count()

  def evaluate(proposal: Proposal) -> Evaluation:
    return Evaluation(scores[next(numbers) % len(scores)], 0.25, COSTS)

  entries: list[study.Entry] = []
  outcome(lambda: entries.extend(itertools.islice(study.run(strategy, evaluate, seed, 1e9), 12)))
  text = "".join(map(study.to_line, entries))
  read = study.from_lines(text, space, "journal")
  assert text == "".join(map(study.to_line, read))
  for cut in (len(entries), len(entries) // 2):
    state = replay(strategy, seed, read[:cut])
    asked = outcome(strategy.ask, state)
    assert asked is REFUSED or cut == len(entries) or asked[0] == entries[cut][0]
  check_incumbents(entries)


def check_incumbents(entries: list[study.Entry]) -> None:
  """The curve ends in the best of the longest trainings that came to a score, the first of those that are equal."""
  curve = study.incumbents(entries)
  answered = [(proposal.budget or math.inf, evaluation.score, -number) for number, (proposal, evaluation) in enumerate(entries)]
  scored = [entry for entry in answered if math.isfinite(entry[1])]
  assert (curve[-1].trial, curve[-1].score) == (-max(scored)[2], max(scored)[1]) if scored else not curve
  assert all(math.isfinite(step.score) for step in curve)


# Evaluations, studies and journals.

ANY_NUMBER = SCORES | WHOLE | FLOATS | ANYTHING | st.sampled_from((np.float32(2.5), np.int64(3), np.array(0.5), np.array([0.5])))


@fuzzed(150, score=ANY_NUMBER, cost=ANY_NUMBER, metrics=st.dictionaries(st.text(max_size=3), ANY_NUMBER, max_size=2) | ANYTHING)
def test_an_evaluation_has_numbers_or_is_refused(score: Any, cost: Any, metrics: Any):
  made = outcome(Evaluation, score, cost, metrics)
  if made is REFUSED:
    return
  assert type(made.score) is float and type(made.cost) is float and 0 <= made.cost < math.inf
  assert math.isnan(made.score) or made.score == score
  assert score_of(made) == (made.score if math.isfinite(made.score) else -math.inf)
  line = study.to_line((Proposal(EDGES.decode((0, 0, 0))), made))
  assert study.to_line(study.from_lines(line, EDGES, "journal")[0]) == line


@fuzzed(80, genotype=st.just(EDGES.decode((0, 1, 2))) | ANYTHING, budget=WHOLE | ANYTHING, parent=ANYTHING)
def test_a_proposal_is_whole_or_refused(genotype: Any, budget: Any, parent: Any):
  made = outcome(Proposal, genotype, budget, parent)
  if made is not REFUSED:
    assert isinstance(genotype, Genotype) and (budget is None or budget > 0)
    assert study.from_lines(study.to_line((made, Evaluation(0.0, 1.0, {}))), EDGES, "journal")[0][0] == made


ANSWERS = st.lists(st.tuples(SCORES, st.floats(0, 1) | ANY_NUMBER), min_size=1, max_size=5)


@fuzzed(60, answers=ANSWERS, seconds=st.floats(0, 3) | FLOATS, seed=st.integers(0, 9) | WHOLE)
def test_a_study_spends_its_budget_or_is_refused(answers: list[tuple[float, Any]], seconds: float, seed: int):
  numbers = itertools.count()

  def evaluate(proposal: Proposal) -> Evaluation:
    return Evaluation(*answers[next(numbers) % len(answers)], {})

  run = study.run(made("random_search", {}, EDGES), evaluate, seed, seconds)
  entries = outcome(lambda: list(itertools.islice(run, 30)))
  if entries is not REFUSED:
    assert entries and sum(evaluation.cost for _, evaluation in entries) <= seconds
    assert all(evaluation.cost > 0 for _, evaluation in entries)


DECISIONS = st.tuples(*[st.integers(0, 2)] * 3)
PROPOSALS = st.builds(Proposal, DECISIONS.map(EDGES.decode), st.none() | st.integers(1, 9), st.none() | st.just("a1"))
ENTRIES = st.tuples(PROPOSALS, st.builds(Evaluation, SCORES, st.just(1.5), st.just({"x": 1.0})))
LINES = st.lists(ENTRIES.map(study.to_line), max_size=3).map("".join)


@fuzzed(250, text=edited(LINES) | edited(edited(LINES)) | st.sampled_from(("[" * 90000 + "\n", "1" * 5000 + "\n", '{"score": 1e999}\n')))
def test_a_journal_is_read_or_refused(text: str):
  entries = outcome(study.from_lines, text, EDGES, "journal")
  if entries is REFUSED:
    return
  for proposal, _ in entries:
    assert EDGES.validate(proposal.genotype)
  assert [study.to_line(entry) for entry in entries] == [
    study.to_line(entry) for entry in study.from_lines("".join(map(study.to_line, entries)), EDGES, "journal")
  ]
  outcome(replay, made("random_search", {}, EDGES), 0, entries)
  check_incumbents(entries)


FIELDS = st.fixed_dictionaries(
  {},
  optional={
    "genotype": st.just(json.loads(EDGES.decode((0, 1, 2)).to_json())) | ANYTHING,
    "budget": WHOLE | ANYTHING,
    "parent": ANYTHING,
    "score": ANY_NUMBER,
    "cost": ANY_NUMBER,
    "metrics": st.dictionaries(st.text(max_size=2), ANY_NUMBER, max_size=2) | ANYTHING,
  },
)


@fuzzed(150, fields=FIELDS)
def test_fields_of_an_entry_are_of_their_types_or_refused(fields: dict[str, Any]):
  try:
    line = json.dumps(fields) + "\n"
  except (TypeError, ValueError):  # no JSON
    return
  entries = outcome(study.from_lines, line, EDGES, "journal")
  for proposal, evaluation in entries if entries is not REFUSED else ():
    assert proposal.budget is None or type(proposal.budget) is int
    assert type(evaluation.score) is float and isinstance(fields["score"], int | float) and not isinstance(fields["score"], bool)


# Workers.


@fuzzed(
  60,
  data=st.data(),
  name=st.sampled_from(("random_search", "asha", "hyperband")),
  num_workers=st.integers(1, 4) | WHOLE.filter(lambda value: value < 100) | ANYTHING,
  seconds=st.floats(0, 30) | FLOATS,
  costs=st.lists(st.floats(0.5, 3) | SCORES, min_size=1, max_size=4),
)
def test_workers_end_in_time_or_are_refused(data: Any, name: str, num_workers: Any, seconds: float, costs: list[float]):
  death = st.builds(simulated_workers.Death, st.integers(-1, 4), SCORES | st.floats(0, 20), FLOATS | st.floats(5, 30))
  deaths = data.draw(st.lists(death, max_size=2))
  numbers = itertools.count()

  def evaluate(proposal: Proposal) -> Evaluation:
    if next(numbers) > 300:
      raise StopIteration  # so many jobs are enough
    return Evaluation(1.0, costs[next(numbers) % len(costs)], {})

  run: Callable[[], Any] = lambda: simulated_workers.simulate(made(name, {}, EDGES), 0, evaluate, num_workers, seconds, deaths)  # noqa: E731
  try:
    found = outcome(run)
  except StopIteration:
    return
  if found is not REFUSED:
    assert all(job.end <= seconds for job in found.jobs) and len(found.idle) == num_workers
    assert all(0 <= idle <= seconds for idle in found.idle)
