"""Tables of results: looking up, what is charged, test accuracy, and tables that are refused."""

import os
import pathlib
import re
from collections.abc import Callable

import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.records import Proposal
from dnas.evaluate import nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import Table, Tabular, all_genotypes, report_test

DATA_DIR = os.environ.get("DNAS_DATA_DIR", "")
REAL = pathlib.Path(DATA_DIR) / "nb201" / "nb201.npz"
PLANTED = synthetic_table.planted()
ROWS = 15_625


def _columns() -> dict[int, np.ndarray]:
  return {12: np.linspace(10, 90, ROWS), 200: np.linspace(20, 94, ROWS)}


def _table(**changes: object) -> Table:
  seconds = {12: np.linspace(50, 100, ROWS), 200: np.linspace(800, 1600, ROWS)}
  test = {200: np.linspace(30, 95, ROWS)}
  return Table(**{"name": "t.npz", "genotypes": all_genotypes(), "valid": _columns(), "test": test, "seconds": seconds} | changes)


def test_an_evaluation_is_the_row_of_the_architecture_at_its_budget():
  table = _table()
  evaluate, genotype = Tabular(table), all_genotypes()[777]
  short, full = evaluate(Proposal(genotype)), evaluate(Proposal(genotype, 200))
  assert (short.score, short.cost) == (table.valid(12)[777], table.seconds(12)[777]) and short.metrics == {"epochs": 12.0}
  assert (full.score, full.cost) == (table.valid(200)[777], table.seconds(200)[777]) and full.metrics == {"epochs": 200.0}
  assert evaluate(Proposal(genotype, 12)) == short == evaluate(Proposal(genotype)) and Tabular(table, 200)(Proposal(genotype)) == full
  assert evaluate(Proposal(genotype, 200, parent="0")) == full  # nothing is resumed


def test_the_order_of_rows_and_of_a_nodes_edges_does_not_matter():
  order = np.random.default_rng(0).permutation(ROWS)
  valid, test, seconds = ({e: column(e)[order] for e in (12, 200)} for column in (_table().valid, _table().valid, _table().seconds))
  shuffled = _table(genotypes=[all_genotypes()[row] for row in order], valid=valid, test=test, seconds=seconds)
  genotype = all_genotypes()[4321]
  assert Tabular(shuffled)(Proposal(genotype)) == Tabular(_table())(Proposal(genotype))
  reversed_edges = tuple(tuple(reversed(node)) for node in genotype["cell"].nodes)
  same = Genotype("nasbench201", (("cell", CellGenotype(reversed_edges, (3,))),))
  assert shuffled.row(same) == shuffled.row(genotype) == int(np.flatnonzero(order == 4321)[0])


def test_costs_are_metrics_of_every_evaluation():
  weights, latency = np.arange(ROWS), np.linspace(1.5, 9, ROWS)
  table = _table(costs={"weights": weights})
  more = table.with_costs({"latency/a": latency})
  assert list(table.costs) == ["weights"] and list(more.costs) == ["weights", "latency/a"]
  genotype = all_genotypes()[777]
  assert Tabular(table)(Proposal(genotype)).metrics == {"epochs": 12.0, "weights": 777.0}
  assert Tabular(more)(Proposal(genotype, 200)).metrics == {"epochs": 200.0, "weights": 777.0, "latency/a": latency[777]}
  weights[777] = 0
  assert table.costs["weights"][777] == 777 and not table.costs["weights"].flags.writeable
  for column, said in ((latency[1:], "has shape"), (-latency, "in row 0 "), (latency * np.nan, "must be a cost"), (["a"], "numbers")):
    with pytest.raises(InputError, match=f"t.npz: latency/b .*{said}"):
      table.with_costs({"latency/b": column})


def test_one_function_gives_test_accuracy():
  table = _table()
  genotype = all_genotypes()[5]
  assert report_test(table, genotype) == table._test[200][5]
  public = [name for name in dir(table) if not name.startswith("_")]
  assert public == "continued costs epochs genotypes name row seconds space valid with_costs".split()
  assert "test" not in " ".join(Tabular(table)(Proposal(genotype, 200)).metrics)
  with pytest.raises(InputError, match=r"no test accuracy at 12 epochs; the known ones are \[200\]"):
    report_test(table, genotype, epochs=12)


def test_columns_cannot_be_changed():
  column = np.linspace(10, 90, ROWS)
  table = _table(valid={12: column, 200: column})
  column[0] = 50
  assert table.valid(12)[0] == 10
  with pytest.raises(ValueError, match="read-only"):
    table.valid(12)[0] = 50


def test_what_a_table_does_not_have_is_refused():
  elsewhere = Genotype("other", (("cell", CellGenotype(((Edge("sep_conv_3x3", 0),),), (1,))),))
  with pytest.raises(InputError, match="is not an architecture of space 'nasbench201'"):
    Tabular(_table())(Proposal(elsewhere))
  for call in (lambda: Tabular(_table())(Proposal(all_genotypes()[0], 50)), lambda: Tabular(_table(), 50)):
    with pytest.raises(InputError, match="t.npz: it has no training of 50 epochs; the budget can be 12 or 200."):
      call()
  for budget in ("12", 12.5, [12], float("nan")):
    with pytest.raises(InputError, match=f"it has no training of {re.escape(repr(budget))} epochs; the budget can be 12 or 200."):
      Tabular(_table(), budget)
    with pytest.raises(InputError, match=f"it has no test accuracy at {re.escape(repr(budget))} epochs; the known ones are"):
      report_test(_table(), all_genotypes()[0], budget)


def _with(row: int, value: float) -> dict[int, np.ndarray]:
  columns = _columns()
  columns[12][row] = value
  return columns


FIRST = nasbench201.to_string(all_genotypes()[0])


@pytest.mark.parametrize(
  "changes, message",
  [
    (lambda: {"genotypes": all_genotypes()[1:]}, f"1 of 15625 architectures are missing, for example {FIRST}"),
    (lambda: {"genotypes": (*all_genotypes()[:-1], all_genotypes()[0])}, f"rows 0 and 15624 are both {FIRST}"),
    (lambda: {"genotypes": (*all_genotypes(), all_genotypes()[0])}, f"rows 0 and 15625 are both {FIRST}"),
    (lambda: {"valid": _with(0, np.nan)}, f"validation at 12 epochs is nan in row 0 ({FIRST}); it must be a percentage from 0 to 100"),
    (lambda: {"valid": _with(3, 100.5)}, "is 100.5 in row 3"),
    (lambda: {"valid": _with(3, -1)}, "is -1.0 in row 3"),
    (lambda: {"test": {200: np.full(ROWS, np.inf)}}, "test at 200 epochs is inf in row 0"),
    (lambda: {"seconds": {12: np.zeros(ROWS), 200: np.ones(ROWS)}}, "seconds of 12 epochs is 0.0 in row 0"),
    (lambda: {"seconds": {12: np.ones(ROWS), 200: np.full(ROWS, np.inf)}}, "seconds of 200 epochs is inf"),
    (lambda: {"valid": {e: column / 100 for e, column in _columns().items()}}, "give accuracies in percent, not as fractions"),
    (lambda: {"valid": {12: np.ones(ROWS - 1), 200: np.ones(ROWS)}}, "validation at 12 epochs has shape (15624,)"),
    (lambda: {"valid": {12: np.array(["x"] * ROWS), 200: np.ones(ROWS)}}, "validation at 12 epochs is not a column of numbers"),
    (lambda: {"valid": {12: np.full(ROWS, "50"), 200: np.ones(ROWS)}}, "validation at 12 epochs is not a column of numbers"),
    (lambda: {"valid": {12: np.full(ROWS, 50j), 200: np.ones(ROWS)}}, "validation at 12 epochs is not a column of numbers"),
    (lambda: {"test": {200: np.full(ROWS, "2020", "M8[Y]")}}, "test at 200 epochs is not a column of numbers"),
    (lambda: {"test": {200: [10**400] * ROWS}}, "test at 200 epochs is not a column of numbers"),
    (lambda: {"test": {0: np.full(ROWS, 50)}}, "a column is for 0 epochs; give a whole number from 1 to 999999."),
    (lambda: {"valid": {"12": np.full(ROWS, 50)}}, "a column is for '12' epochs; give a whole number"),
    (lambda: {"valid": {}}, "give both for the same epochs"),
    (lambda: {"seconds": {12: np.ones(ROWS)}}, "validation is for [12, 200] epochs, seconds for [12]"),
    (
      lambda: {"continued": True, "seconds": {12: np.full(ROWS, 2), 200: np.ones(ROWS)}},
      "some 200 epochs take fewer seconds than the 12 that they continue; give sums over epochs.",
    ),
  ],
)
def test_tables_that_are_refused(changes: Callable[[], dict], message: str):
  with pytest.raises(InputError) as error:
    _table(**changes())
  assert str(error.value).startswith("t.npz: ") and message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(not REAL.is_file(), reason="the real table is read where DNAS_DATA_DIR names the folder of nb201/nb201.npz")
def test_the_real_table():
  tables = {name: nasbench201_formats.read_npz(REAL, name) for name in nasbench201_formats.DATASETS}
  cifar10 = tables["cifar10"]
  best = cifar10.genotypes[6111]
  assert cifar10.valid(200).argmax() == 6111 and cifar10.valid(200)[6111] == pytest.approx(91.61, abs=0.005)
  assert report_test(cifar10, best) == pytest.approx(94.37, abs=0.005) == max(report_test(cifar10, g) for g in cifar10.genotypes)
  skips = nasbench201.from_string("|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|")
  assert report_test(cifar10, skips) == pytest.approx(54.30, abs=0.005)
  assert report_test(cifar10, nasbench201.from_string(FIRST)) == 10
  for name, published in (("cifar100", 73.51), ("imagenet16_120", 47.31)):
    assert max(report_test(tables[name], g) for g in tables[name].genotypes) == pytest.approx(published, abs=0.005)
  assert len({nasbench201.to_string(genotype) for genotype in cifar10.genotypes}) == 15_625
  np.testing.assert_allclose(cifar10.seconds(12), cifar10.seconds(200) * 12 / 200, rtol=1e-6)
