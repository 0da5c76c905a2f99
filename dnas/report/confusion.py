"""The confusion matrix of a classifier, as tables and as a picture."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dnas.report.tables import Table

_WRITTEN = 30
"""Most classes whose counts are written into the picture."""


def matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
  """Returns the confusion matrix, int64 [classes, classes]: row i, column j counts the examples of class i predicted as class j.

  Args:
    labels: true classes, integers [N].
    predicted: predicted classes, integers [N].
    classes: number of classes.
  """
  return np.bincount(np.asarray(labels, np.int64) * classes + predicted, minlength=classes * classes).reshape(classes, classes)


@dataclasses.dataclass(frozen=True)
class ByClass:
  """The row and the column of one class in a confusion matrix, in numbers.

  Attributes:
    name: name of the class.
    examples: number of examples of the class.
    recall: fraction of these examples that are predicted as the class, also called the accuracy of the class; nan without examples.
    precision: fraction of the predictions of the class that are right; nan without predictions.
    taken_for: the most frequent wrong prediction for its examples, with the count, such as 'cat (12)'; empty if all are right.
  """

  name: str
  examples: int
  recall: float
  precision: float
  taken_for: str


def by_class(counts: np.ndarray, names: Sequence[str]) -> list[ByClass]:
  """Returns the numbers of every class in a confusion matrix, [classes, classes]."""
  out = []
  for index, name in enumerate(names):
    wrong = counts[index].copy()
    right, wrong[index] = int(counts[index, index]), 0
    examples, predicted = int(counts[index].sum()), int(counts[:, index].sum())
    taken = f"{names[wrong.argmax()]} ({wrong.max():,})" if wrong.any() else ""
    recall, precision = (right / number if number else np.nan for number in (examples, predicted))
    out.append(ByClass(name, examples, recall, precision, taken))
  return out


def table(counts: np.ndarray, names: Sequence[str], caption: str) -> Table:
  """Returns a table with a row for every class."""
  rows = [
    (one.name, f"{one.examples:,}", _percent(one.recall), _percent(one.precision), one.taken_for) for one in by_class(counts, names)
  ]
  return Table(caption, ("class", "examples", "accuracy", "precision", "most often taken for"), tuple(rows))


def matrix_table(counts: np.ndarray, names: Sequence[str], caption: str) -> Table:
  """Returns the matrix as a table: true classes in rows, predicted ones in columns."""
  rows = [(name, *(f"{count:,}" if count else "." for count in row)) for name, row in zip(names, counts.tolist(), strict=True)]
  return Table(caption, ("true \\ predicted", *names), tuple(rows))


def figure(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
  """Draws the matrix. The shade of a field is its fraction of the row. Up to 30 classes, the counts are written into the fields."""
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  size = 2.5 + 0.42 * min(len(names), _WRITTEN)
  drawn = Figure(figsize=(size + 0.6, size), layout="constrained", facecolor="white")
  axes = drawn.add_subplot()
  image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
  axes.set(xlabel="predicted class", ylabel="true class", title=title)
  if len(names) <= _WRITTEN:
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts):
      if count:
        axes.text(column, row, f"{count:,}", ha="center", va="center", size=7, color="white" if shares[row, column] > 0.5 else "black")
  drawn.colorbar(image, ax=axes, shrink=0.7, label="fraction of the true class")
  return drawn


def _percent(fraction: float) -> str:
  return "" if np.isnan(fraction) else f"{100 * fraction:.2f} %"
