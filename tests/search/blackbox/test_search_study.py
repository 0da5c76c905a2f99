"""The loop of a study: what it spends, how it goes on from its journal, its anytime curve, and journals on disk."""

import dataclasses
import itertools
import os
import pathlib

import numpy as np
import pytest

from dnas.cells.nasbench201 import SPACE
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.evaluate import nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import Tabular, all_genotypes, report_test
from dnas.search.blackbox import local_search, random_search, regularized_evolution, study
from dnas.search.blackbox.base import Strategy

DATA_DIR = os.environ.get("DNAS_DATA_DIR", "")
REAL = pathlib.Path(DATA_DIR) / "nb201" / "nb201.npz"
EVALUATOR = Tabular(synthetic_table.planted())
STRATEGIES: list[Strategy] = [
  settings.on(SPACE) for settings in (random_search.Config(), regularized_evolution.Config(), local_search.Config())
]


def test_a_study_ends_before_the_evaluation_that_its_budget_does_not_hold():
  everything = list(itertools.islice(study.run(STRATEGIES[0], EVALUATOR, 0, 1e9), 6))
  costs = np.cumsum([evaluation.cost for _, evaluation in everything])
  for seconds, count in ((costs[4], 5), (costs[4] - 1e-6, 4), (costs[5] - 1e-6, 5)):
    assert len(list(study.run(STRATEGIES[0], EVALUATOR, 0, seconds))) == count
  assert list(study.run(STRATEGIES[0], EVALUATOR, 0, costs[4])) == everything[:5]


def test_a_budget_smaller_than_one_evaluation_is_refused():
  cost = next(study.run(STRATEGIES[0], EVALUATOR, 0, 1e9))[1].cost
  with pytest.raises(InputError, match=f"seconds is 1.5; the first evaluation costs {cost:.4g}, so give more"):
    list(study.run(STRATEGIES[0], EVALUATOR, 0, 1.5))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("broken_off", [0, 1, 17, 40])
def test_a_broken_off_study_goes_on_as_if_nothing_had_been(strategy: Strategy, broken_off: int):
  whole = list(study.run(strategy, EVALUATOR, 5, 5000))
  assert len(whole) > 50
  journal = study.from_lines("".join(map(study.to_line, whole[:broken_off])), SPACE, "journal.jsonl")
  assert journal == whole[:broken_off]
  assert journal + list(study.run(strategy, EVALUATOR, 5, 5000, journal)) == whole
  assert list(study.run(strategy, EVALUATOR, 5, 5000, whole)) == []


def test_a_journal_of_another_study_is_refused():
  journal = list(study.run(STRATEGIES[0], EVALUATOR, 5, 1000))
  for strategy, seed in ((STRATEGIES[0], 6), (STRATEGIES[2], 5)):
    with pytest.raises(InputError, match="journal, line .*; replay it with the strategy, settings, space and seed that wrote it"):
      list(study.run(strategy, EVALUATOR, seed, 5000, journal))


def _entry(row: int, score: float, cost: float, budget: int | None = None) -> study.Entry:
  return Proposal(all_genotypes()[row], budget), Evaluation(score, cost, {})


def test_the_anytime_curve_holds_the_best_so_far():
  found = study.incumbents([_entry(0, 50, 10), _entry(1, 40, 5), _entry(2, 50, 1), _entry(3, 60, 4)])
  assert found == [(10, 50, all_genotypes()[0], 0), (20, 60, all_genotypes()[3], 3)]
  assert study.incumbents([]) == []


def test_scores_are_compared_within_the_longest_training():
  budgets, scores = (12, 12, 200, 12, 200, None), (50, 60, 55, 99, 56, 3)
  journal = [_entry(row, score, 1, budget) for row, (score, budget) in enumerate(zip(scores, budgets, strict=True))]
  assert [step.trial for step in study.incumbents(journal)] == [0, 1, 2, 4, 5]


def test_a_training_that_failed_is_never_the_best():
  journal = [_entry(0, np.nan, 1, 12), _entry(1, 60, 1, 12), _entry(2, np.nan, 1, 200), _entry(3, 55, 1, 200), _entry(4, -np.inf, 1)]
  assert [(step.trial, step.seconds) for step in study.incumbents(journal)] == [(1, 2), (3, 4)]


def test_a_half_written_last_line_is_left_out():
  entries = [_entry(row, 50.5, 1.25, 12) for row in range(3)]
  entries[1] = (dataclasses.replace(entries[1][0], parent="a1"), Evaluation(0.1, 1 / 3, {"epochs": 12.0}))
  text = "".join(map(study.to_line, entries))
  assert study.from_lines(text, SPACE, "j") == entries
  assert study.from_lines(text[:-1], SPACE, "j") == study.from_lines(text[:-100], SPACE, "j") == entries[:2]
  assert study.from_lines("", SPACE, "j") == study.from_lines('{"gen', SPACE, "j") == []


LINE = study.to_line(_entry(7, 50, 1))


@pytest.mark.parametrize(
  "line, message",
  [
    ("{", "is not an entry of a journal"),
    ("[]", "is not an entry of a journal"),
    (LINE[:-1].replace('"cost": 1', '"cost": "much"'), "is not an entry of a journal"),
    (LINE[:-1].replace('"score"', '"points"'), "is not an entry of a journal"),
    (LINE[:-1].replace('"none"', '"nome"', 1), "Did you mean 'none'?"),
  ],
)
def test_lines_that_are_refused(line: str, message: str):
  with pytest.raises(InputError) as error:
    study.from_lines(LINE + line + "\n" + LINE, SPACE, "journal.jsonl")
  assert str(error.value).startswith("journal.jsonl, line 2") and message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(not REAL.is_file(), reason="the real table is read where DNAS_DATA_DIR names the folder of nb201/nb201.npz")
def test_on_the_real_table_evolution_and_local_search_are_above_random_search():
  table = nasbench201_formats.read_npz(REAL, "cifar10")
  evaluator, means = Tabular(table), []
  for strategy in STRATEGIES:
    ends = [study.incumbents(study.run(strategy, evaluator, seed, 20_000))[-1].genotype for seed in range(100)]
    means.append(np.mean([report_test(table, genotype) for genotype in ends]))
  assert means[0] == pytest.approx(93.83, abs=0.15)  # 93.70 at 12,000 seconds and 93.83 as published
  assert min(means[1:]) > means[0] + 0.1
