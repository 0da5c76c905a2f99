"""Tabular evaluation: result tables of every architecture of NAS-Bench-201, and the evaluator that reads them.

A search that would take months of accelerators takes seconds: validation accuracy and training time of all 15,625 architectures are known,
and time is counted, not spent. Source: Dong and Yang, "NAS-Bench-201", ICLR 2020; Dong et al., "NATS-Bench", TPAMI 2021.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.cells import nasbench201
from dnas.core.errors import InputError, counted, shown
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal


class Table:
  """Results of every architecture of NAS-Bench-201 on one data set; immutable.

  The table holds test accuracy too; only `report_test` returns it.

  Attributes:
    name: what the table is called in messages: its file and data set.
    genotypes: the architectures, row by row; the row is the index of an architecture.
    epochs: the lengths of training that the table knows, ascending.
  """

  def __init__(
    self,
    name: str,
    genotypes: Sequence[Genotype],
    valid: Mapping[int, np.ndarray],
    test: Mapping[int, np.ndarray],
    seconds: Mapping[int, np.ndarray],
  ):
    """Checks the columns and keeps copies.

    Args:
      name: the name of the table.
      genotypes: one architecture per row, in any order.
      valid: epochs to validation accuracy, percent, [rows].
      test: epochs to test accuracy, percent, [rows]; may have fewer lengths of training.
      seconds: epochs to accelerator seconds of a whole training, [rows].

    Raises:
      InputError: if an architecture is missing or there twice, or a column has another length, a cell that is no number or out of range,
        or there is no column of seconds beside one of validation accuracy.
    """
    for epochs in (*valid, *test, *seconds):
      if not isinstance(epochs, int) or epochs not in range(1, MOST_EPOCHS):
        raise InputError(f"{name}: a column is for {shown(epochs)} epochs; give a whole number from 1 to {MOST_EPOCHS - 1}.")
    self.name, self.genotypes, self.epochs = name, tuple(genotypes), tuple(sorted(valid))
    self._rows = _checked_rows(name, self.genotypes)
    if not valid or set(seconds) != set(valid):
      raise InputError(f"{name}: validation is for {sorted(valid)} epochs, seconds for {sorted(seconds)}; give both for the same epochs.")
    self._valid = {epochs: self._checked(f"validation at {epochs} epochs", column, accuracy=True) for epochs, column in valid.items()}
    self._test = {epochs: self._checked(f"test at {epochs} epochs", column, accuracy=True) for epochs, column in test.items()}
    self._seconds = {epochs: self._checked(f"seconds of {epochs} epochs", column, accuracy=False) for epochs, column in seconds.items()}

  def row(self, genotype: Genotype) -> int:
    """Returns the row of an architecture. Raises InputError if it is not of the space."""
    row = self._rows.get(genotype)
    return self._rows[nasbench201.SPACE.decode(nasbench201.SPACE.encode(genotype))] if row is None else row

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
    values = numbers_of(f"{self.name}: {column}", values)
    if values.shape != (len(self.genotypes),):
      raise InputError(f"{self.name}: {column} has shape {values.shape}; give one number for each of {len(self.genotypes)} architectures.")
    wrong = ~((values >= 0) & (values <= 100)) if accuracy else ~((values > 0) & (values < np.inf))
    if wrong.any():
      row, hint = int(wrong.argmax()), "a percentage from 0 to 100" if accuracy else "seconds above zero"
      text = nasbench201.to_string(self.genotypes[row])
      raise InputError(f"{self.name}: {column} is {values[row]} in row {row} ({text}); it must be {hint}.")
    if accuracy and values.max() <= 1:
      raise InputError(f"{self.name}: {column} has no value above {values.max()}; give accuracies in percent, not as fractions.")
    values.setflags(write=False)
    return values


MOST_EPOCHS = 1_000_000


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

  The cost is that of a whole training. A table holds separate trainings for each number of epochs, every one with its own learning-rate
  schedule, so there is nothing to resume, and a proposal that names a parent pays its whole budget too.

  Attributes:
    table: the results.
    epochs: epochs of a proposal that names no budget.
  """

  def __init__(self, table: Table, epochs: int = 12):
    """Prepares the columns. Raises InputError if the table has no training of so many epochs."""
    self.table, self.epochs = table, epochs
    table.valid(epochs)
    self._columns = {each: (table.valid(each).tolist(), table.seconds(each).tolist(), {"epochs": float(each)}) for each in table.epochs}

  def __call__(self, proposal: Proposal) -> Evaluation:
    """See `base.Evaluator`."""
    epochs = self.epochs if proposal.budget is None else proposal.budget
    if epochs not in self._columns:
      self.table.valid(epochs)  # raises
    scores, seconds, metrics = self._columns[epochs]
    row = self.table.row(proposal.genotype)
    return Evaluation(scores[row], seconds[row], metrics)


def report_test(table: Table, genotype: Genotype, epochs: int = 200) -> float:
  """Returns the test accuracy of an architecture that a search ended in, in percent: for the report of a finished search alone.

  This is the only access to the test accuracy of a table. Never select an architecture or a setting by it.

  Raises:
    InputError: if the table has no test accuracy at so many epochs, or the architecture is not of its space.
  """
  if epochs not in sorted(table._test):
    raise InputError(f"{table.name}: it has no test accuracy at {shown(epochs)} epochs; the known ones are {sorted(table._test)}.")
  return float(table._test[epochs][table.row(genotype)])


def _checked_rows(name: str, genotypes: tuple[Genotype, ...]) -> dict[Genotype, int]:
  """Returns architecture to row."""
  rows: dict[Genotype, int] = {}
  for row, genotype in enumerate(genotypes):
    if rows.setdefault(genotype, row) != row:
      text = nasbench201.to_string(genotype)
      raise InputError(f"{name}: rows {rows[genotype]} and {row} are both {text}; give each architecture once.")
  missing = [genotype for genotype in all_genotypes() if genotype not in rows]
  if missing:
    text = nasbench201.to_string(missing[0])
    raise InputError(f"{name}: {len(missing)} of {len(all_genotypes())} architectures are missing, for example {text}; give each a row.")
  return rows


@functools.cache
def all_genotypes() -> tuple[Genotype, ...]:
  """Returns every architecture once, in the order of `nasbench201.genotypes`; the same objects at every call."""
  return tuple(nasbench201.genotypes())
