"""The evaluators of a comparison, by name."""

import functools
from collections.abc import Callable
from typing import Any

from dnas.cells.nasbench201 import SPACE
from dnas.core.errors import FieldError
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.evaluate import nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import Table, Tabular, report_test

DATASETS = tuple(nasbench201_formats.DATASETS)


class TabularEvaluator:
  """Looks results up (`evaluate.tabular.Tabular`), and reports test accuracy when a search has ended.

  Attributes:
    space: the search space.
  """

  space: CellSpace = SPACE

  def __init__(self, table: Table, epochs: int, report_epochs: int):
    self._tabular, self._report_epochs = Tabular(table, epochs), report_epochs

  def __call__(self, proposal: Proposal) -> Evaluation:
    """See `evaluate.base.Evaluator`."""
    return self._tabular(proposal)

  def report(self, genotype: Genotype) -> float:
    """Returns the test accuracy of an architecture that a search ended in, in percent."""
    return report_test(self._tabular.table, genotype, self._report_epochs)


def _tabular(config: Any) -> TabularEvaluator:
  table = read_table(config.table, config.dataset)
  return TabularEvaluator(table, config.epochs, config.report_epochs)


EVALUATORS: dict[str, Callable[[Any], Any]] = {"tabular": _tabular}
"""Name to a function that makes the evaluator of a comparison's configuration."""


def make_evaluator(config: Any) -> Any:
  """Returns the evaluator of a comparison. Raises InputError if its data cannot be used."""
  return EVALUATORS[config.evaluator](config)


@functools.cache
def read_table(path: str, dataset: str) -> Table:
  """Returns a table of results, read once per process.

  Raises:
    InputError: if there is none, or it is not what it should be.
  """
  if path != "synthetic":
    return nasbench201_formats.read_npz(path, dataset)
  if dataset != "cifar10":
    raise FieldError("dataset", dataset, "the planted table stands for cifar10 alone; give --table a file")
  return synthetic_table.planted()
