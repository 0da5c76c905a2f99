"""Tabular evaluation: result tables of every architecture of a space, and the evaluator that reads them.

A search that would take months of accelerators takes seconds: validation accuracy and training time of all architectures are known, and
time is counted, not spent. Source: Dong and Yang, "NAS-Bench-201", ICLR 2020; Dong et al., "NATS-Bench", TPAMI 2021.
"""

import copy
import functools
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from dnas.cells import nasbench201
from dnas.core.errors import InputError, counted, shown
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.core.trials import trial_id


class Table:
  """Results of every architecture of a space on one data set; immutable.

  The table holds test accuracy too. Only `report_test`, `report_shares` and `nasbench201_formats.write_npz` read it.

  Attributes:
    name: the name in messages, such as the file and the data set.
    genotypes: the architecture of every row.
    epochs: the lengths of training for which validation accuracy is known, in epochs, ascending.
    space: the space.
    continued: whether a longer training continues a shorter one. Otherwise the trainings of all lengths are separate.
    costs: name of a cost, such as multiply_adds, to what each network costs, [rows].
  """

  def __init__(
    self,
    name: str,
    genotypes: Sequence[Genotype],
    valid: Mapping[int, np.ndarray],
    test: Mapping[int, np.ndarray],
    seconds: Mapping[int, np.ndarray],
    space: CellSpace = nasbench201.SPACE,
    continued: bool = False,
    costs: Mapping[str, np.ndarray] = MappingProxyType({}),
  ):
    """Checks the columns and keeps copies.

    Args:
      name: the name of the table.
      genotypes: one architecture per row, in any order.
      valid: maps epochs to validation accuracy, percent, [rows].
      test: maps epochs to test accuracy, percent, [rows]; it may have fewer lengths of training.
      seconds: maps epochs to accelerator seconds of a whole training, [rows]. It has the epochs of `valid`.
      space: the space of the architectures; every one of them needs a row.
      continued: whether a longer training continues a shorter one, so that its first epochs cost nothing more.
      costs: name of a cost to the cost of each network, zero or more, [rows]: weights, multiply_adds of one input, or latency/DEVICE.

    Raises:
      InputError: if epochs are not whole numbers below `MOST_EPOCHS`, an architecture is missing or given twice, `valid` is empty or has
        other epochs than `seconds`, or a column has another length or a value that is no number or out of range. Also if accuracies seem to
        be fractions, or a longer training costs less than the shorter one that it continues.
    """
    for epochs in (*valid, *test, *seconds):
      if not isinstance(epochs, int) or epochs not in range(1, MOST_EPOCHS):
        raise InputError(f"{name}: a column is for {shown(epochs)} epochs; give a whole number from 1 to {MOST_EPOCHS - 1}.")
    self.name, self.genotypes, self.epochs = name, tuple(genotypes), tuple(sorted(valid))
    self.space, self.continued = space, continued
    self._rows = _checked_rows(name, self.genotypes, space)
    if not valid or set(seconds) != set(valid):
      raise InputError(f"{name}: validation is for {sorted(valid)} epochs, seconds for {sorted(seconds)}; give both for the same epochs.")
    self._valid = {epochs: self._checked(f"validation at {epochs} epochs", column, accuracy=True) for epochs, column in valid.items()}
    self._test = {epochs: self._checked(f"test at {epochs} epochs", column, accuracy=True) for epochs, column in test.items()}
    self._seconds = {epochs: self._checked(f"seconds of {epochs} epochs", column, accuracy=False) for epochs, column in seconds.items()}
    for shorter, longer in itertools.pairwise(self.epochs) if continued else ():
      if (self._seconds[longer] < self._seconds[shorter]).any():
        raise InputError(f"{name}: some {longer} epochs take fewer seconds than the {shorter} that they continue; give sums over epochs.")
    self.costs = self._checked_costs(costs)

  def with_costs(self, costs: Mapping[str, np.ndarray]) -> "Table":
    """Returns the table with further columns of costs, [rows]. Raises InputError as the constructor does."""
    table = copy.copy(self)
    table.costs = MappingProxyType({**self.costs, **self._checked_costs(costs)})
    return table

  def row(self, genotype: Genotype) -> int:
    """Returns the row of an architecture. Raises InputError if it is not of the space."""
    row = self._rows.get(genotype)
    return self._rows[self.space.decode(self.space.encode(genotype))] if row is None else row

  def valid(self, epochs: int) -> np.ndarray:
    """Returns validation accuracy, percent, [rows]. Raises InputError if the table has no such length of training."""
    return self._valid[self._known(epochs)]

  def seconds(self, epochs: int) -> np.ndarray:
    """Returns accelerator seconds of a training, [rows]. Raises InputError if the table has no such length of training."""
    return self._seconds[self._known(epochs)]

  def _known(self, epochs: int) -> int:
    if epochs not in self.epochs:
      known, asked = " or ".join(map(str, self.epochs)), counted(epochs, "epoch") if isinstance(epochs, int) else f"{shown(epochs)} epochs"
      raise InputError(f"{self.name}: it has no training of {asked}; the budget can be {known}.")
    return epochs

  def _checked(self, column: str, values: np.ndarray, accuracy: bool) -> np.ndarray:
    values = self._numbers(column, values)
    wrong = ~((values >= 0) & (values <= 100)) if accuracy else ~((values > 0) & (values < np.inf))
    self._refuse(column, values, wrong, "a percentage from 0 to 100" if accuracy else "seconds above zero")
    if accuracy and values.max() <= 1:
      raise InputError(f"{self.name}: {column} has no value above {values.max()}; give accuracies in percent, not as fractions.")
    values.setflags(write=False)
    return values

  def _checked_costs(self, costs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    columns = {name: self._numbers(name, values) for name, values in costs.items()}
    for name, values in columns.items():
      self._refuse(name, values, ~((values >= 0) & (values < np.inf)), "a cost of zero or more")
      values.setflags(write=False)
    return MappingProxyType(columns)

  def _numbers(self, column: str, values: np.ndarray) -> np.ndarray:
    values = numbers_of(f"{self.name}: {column}", values)
    if values.shape != (len(self.genotypes),):
      raise InputError(f"{self.name}: {column} has shape {values.shape}; give one number for each of {len(self.genotypes)} architectures.")
    return values

  def _refuse(self, column: str, values: np.ndarray, wrong: np.ndarray, hint: str) -> None:
    if wrong.any():
      row = int(wrong.argmax())
      text = self.space.notation(self.genotypes[row])
      raise InputError(f"{self.name}: {column} is {values[row]} in row {row} ({text}); it must be {hint}.")


MOST_EPOCHS = 1_000_000
"""A table has fewer epochs than this."""


def numbers_of(where: str, values: Any) -> np.ndarray:
  """Returns a copy of a column as float64. Raises InputError, which begins with `where`, if it does not hold numbers."""
  try:
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
      return np.array(array, np.float64)
  except (TypeError, ValueError, OverflowError):
    pass
  raise InputError(f"{where} is not a column of numbers; give one number per architecture.")


class Tabular:
  """An evaluator (`base.Evaluator`) that looks results up: the score is validation accuracy in percent.

  The metrics are the epochs and every cost that the table knows, by its name.

  If longer trainings of the table continue shorter ones (`Table.continued`), a proposal that names a parent pays only the epochs that the
  parent lacks. Otherwise every length of training has its own learning-rate schedule. So there is nothing to resume, and a proposal pays
  its whole budget, with or without a parent.

  Attributes:
    table: the results.
    epochs: epochs of a proposal that names no budget.
  """

  def __init__(self, table: Table, epochs: int = 12):
    """Prepares the columns. Raises InputError if the table has no training of so many epochs."""
    self.table, self.epochs = table, epochs
    table.valid(epochs)
    self._columns = {each: (table.valid(each).tolist(), table.seconds(each).tolist()) for each in table.epochs}
    self._costs = {name: column.tolist() for name, column in table.costs.items()}

  def __call__(self, proposal: Proposal) -> Evaluation:
    """See `base.Evaluator`. Raises InputError for a budget that the table lacks, or a parent that it cannot continue."""
    epochs = self.epochs if proposal.budget is None else proposal.budget
    if epochs not in self._columns:
      self.table.valid(epochs)  # raises
    scores, seconds = self._columns[epochs]
    row = self.table.row(proposal.genotype)
    metrics = {"epochs": float(epochs), **{name: column[row] for name, column in self._costs.items()}}
    resumed = self._resumed(proposal, epochs) if self.table.continued and proposal.parent is not None else None
    return Evaluation(scores[row], seconds[row] - (self._columns[resumed][1][row] if resumed else 0.0), metrics)

  def _resumed(self, proposal: Proposal, budget: int) -> int:
    """Returns the epochs of the parent. Its id does not tell them, so all chains of trainings are tried, the shortest first."""
    below = [epochs for epochs in self.table.epochs if epochs < budget]
    for length in range(1, _MOST_RUNGS + 1):
      for rungs in itertools.combinations(below, length):
        parent = None
        for epochs in rungs:
          parent = trial_id(Proposal(proposal.genotype, epochs, parent))
        if parent == proposal.parent:
          return rungs[-1]
    text = self.table.space.notation(proposal.genotype)
    raise InputError(f"{self.table.name}: {text} has no shorter training {shown(proposal.parent)}; give the id of one, or no parent.")


_MOST_RUNGS = 5
"""Length of the longest chain of parents that is tried."""


def report_test(table: Table, genotype: Genotype, epochs: int = 200) -> float:
  """Returns the test accuracy, in percent, of the architecture that a search found. Only the report of a finished search may call it.

  Never select an architecture or a setting by this number.

  Raises:
    InputError: if the table has no test accuracy at so many epochs, or the architecture is not of its space.
  """
  if epochs not in sorted(table._test):
    raise InputError(f"{table.name}: it has no test accuracy at {shown(epochs)} epochs; the known ones are {sorted(table._test)}.")
  return float(table._test[epochs][table.row(genotype)])


def report_shares(table: Table, epochs: int) -> np.ndarray:
  """Returns, for every architecture, the share of all architectures that have a lower test accuracy: [rows], from 0 to 1.

  As with `report_test`, only the report of a finished search may call it.

  Raises:
    InputError: if the table has no test accuracy at so many epochs.
  """
  report_test(table, table.genotypes[0], epochs)  # raises
  accuracies = table._test[epochs]
  return np.searchsorted(np.sort(accuracies), accuracies) / len(accuracies)


def _checked_rows(name: str, genotypes: tuple[Genotype, ...], space: CellSpace) -> dict[Genotype, int]:
  """Maps every architecture to its row. Raises InputError for one that is missing or given twice."""
  rows: dict[Genotype, int] = {}
  for row, genotype in enumerate(genotypes):
    if rows.setdefault(genotype, row) != row:
      text = space.notation(genotype)
      raise InputError(f"{name}: rows {rows[genotype]} and {row} are both {text}; give each architecture once.")
  every = all_genotypes(space)
  missing = [genotype for genotype in every if genotype not in rows]
  if missing:
    text = space.notation(missing[0])
    raise InputError(f"{name}: {len(missing)} of {len(every)} architectures are missing, for example {text}; give each a row.")
  return rows


@functools.cache
def all_genotypes(space: CellSpace = nasbench201.SPACE) -> tuple[Genotype, ...]:
  """Returns every architecture of a space once; the last of `CellSpace.decisions` varies fastest. Every call returns the same objects."""
  return tuple(space.decode(decisions) for decisions in itertools.product(*map(range, space.decisions)))
