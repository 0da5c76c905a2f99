"""The benchmark in the package: its table, what its epochs cost, and its test accuracy, which one function gives."""

import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.core.errors import InputError
from dnas.core.records import Proposal
from dnas.core.trials import trial_id
from dnas.data import base, datasets
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import Tabular, all_genotypes, report_test

EVERY = all_genotypes(digits_bench.SPACE)
EPOCHS = digits_bench.TRAINING.epochs


def test_the_file_holds_every_architecture_and_is_small():
  assert digits_bench.FILE.stat().st_size < 1_000_000
  found = digits_bench.measurements()
  assert found["valid_correct"].shape == found["valid_loss"].shape == found["train_loss"].shape == (3**6, 3, EPOCHS)
  assert found["valid_correct"].max() <= digits_bench.NUM_VALID and np.isfinite(found["valid_loss"]).all()
  assert (found["seconds"] > 0).all() and found["weights"].shape == found["multiply_adds"].shape == (3**6,)
  assert not [name for name in found if "test" in name]


def test_the_numbers_of_examples_are_those_of_the_data():
  dataset = datasets.from_config(digits_bench.DATA)
  assert len(base.search_split(dataset, digits_bench.DATA)[1]) == digits_bench.NUM_VALID
  assert len(dataset._read_test()) == digits_bench.NUM_TEST


def test_architectures_differ_by_more_than_seeds():
  accuracy = digits_bench.measurements()["valid_correct"][..., -1] / (digits_bench.NUM_VALID / 100)
  mean, spread = accuracy.mean(1), np.sqrt(accuracy.var(1, ddof=1).mean())
  assert np.percentile(mean, 90) - np.median(mean) > 3 * spread


def test_the_mean_over_seeds_is_the_table():
  tables = [digits_bench.load(seed) for seed in range(3)]
  whole = digits_bench.load()
  assert whole.genotypes == EVERY and whole.epochs == tuple(range(1, EPOCHS + 1)) and whole.continued
  np.testing.assert_allclose(whole.valid(5), np.mean([table.valid(5) for table in tables], 0))
  assert {report_test(table, EVERY[40], EPOCHS) for table in tables} == {report_test(whole, EVERY[40], EPOCHS)}
  with pytest.raises(InputError, match="digits_bench has no training of seed 3; give 0 to 2, or none for the mean"):
    digits_bench.load(3)


def test_an_architecture_without_a_path_is_at_chance():
  table = digits_bench.load()
  nothing = nasbench201.from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
  assert table.valid(EPOCHS)[table.row(nothing)] < 15


def test_a_promoted_training_costs_the_added_epochs():
  table = digits_bench.load(0)
  evaluate, genotype = Tabular(table, EPOCHS), EVERY[500]
  first = Proposal(genotype, 1)
  second = Proposal(genotype, 3, trial_id(first))
  third = Proposal(genotype, 9, trial_id(second))
  costs = [evaluate(proposal).cost for proposal in (first, second, third)]
  assert sum(costs) == pytest.approx(evaluate(Proposal(genotype, 9)).cost) == pytest.approx(float(table.seconds(9)[500]))
  assert [evaluate(proposal).score for proposal in (first, second, third)] == [table.valid(epochs)[500] for epochs in (1, 3, 9)]
  with pytest.raises(InputError, match="has no shorter training 'abc'; give the id of one, or no parent"):
    evaluate(Proposal(genotype, 9, "abc"))


def test_an_architecture_beyond_the_space_is_refused():
  other = nasbench201.from_string("|avg_pool_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")
  with pytest.raises(InputError, match="is not an architecture of space 'nasbench201'"):
    digits_bench.load().row(other)
