"""What a classifier takes for what: the matrix of true and predicted classes, as a table and as a picture."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dnas.report.tables import Table

_WRITTEN = 30
"""Most classes whose counts are written into the picture."""


def matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
  """Returns how many examples of the class of a row were taken for the class of a column, int64 [classes, classes].

  Args:
    labels: true classes, integers [N].
    predicted: predicted classes, integers [N].
    classes: how many classes there are.
  """
  return np.bincount(np.asarray(labels, np.int64) * classes + predicted, minlength=classes * classes).reshape(classes, classes)


@dataclasses.dataclass(frozen=True)
class ByClass:
  """What a confusion matrix says of one class.

  Attributes:
    name: its name.
    examples: examples of the class.
    recall: fraction of these that were predicted as the class, its accuracy; nan without examples.
    precision: fraction of the examples predicted as the class that are of it; nan if there are none.
    taken_for: the most frequent wrong class of its examples, and how many they are; empty if there is none.
  """

  name: str
  examples: int
  recall: float
  precision: float
  taken_for: str


def by_class(counts: np.ndarray, names: Sequence[str]) -> list[ByClass]:
  """Returns what a confusion matrix, [classes, classes], says of every class."""
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
  """Draws the matrix. The shade is the fraction of the row; the counts are written into it if there are few classes."""
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
