"""The confusion matrix: against counting, its table and its picture."""

import numpy as np
import pytest

from dnas.report import confusion

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 0, 1, 1, 0])
PREDICTED = np.array([0, 1, 1, 1, 2, 2])


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_the_matrix_counts(classes):
  labels, predicted = np.random.default_rng(classes).integers(classes, size=(2, 500))
  counts = np.zeros((classes, classes), int)
  for label, guess in zip(labels, predicted, strict=True):
    counts[label, guess] += 1
  assert confusion.matrix(labels, predicted, classes).tolist() == counts.tolist()


def test_what_it_says_of_every_class():
  cat, dog, owl = confusion.by_class(confusion.matrix(LABELS, PREDICTED, 3), NAMES)
  assert (cat.examples, cat.recall, cat.precision, cat.taken_for) == (4, 0.25, 1.0, "dog (2)")
  assert (dog.examples, dog.recall, dog.precision, dog.taken_for) == (2, 0.5, 1 / 3, "owl (1)")
  assert owl.examples == 0 and np.isnan(owl.recall) and owl.precision == 0 and owl.taken_for == ""


def test_tables_and_picture_show_the_counts():
  counts = confusion.matrix(LABELS, PREDICTED, 3)
  assert "| cat   | 4        | 25.00 %  | 100.00 %  | dog (2)" in confusion.table(counts, NAMES, "test").to_markdown()
  assert confusion.matrix_table(counts, NAMES, "test").rows[0] == ("cat", "1", "2", "1")
  axes = confusion.figure(counts, NAMES, "test").axes[0]
  assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "1", "1", "2"] and axes.get_title() == "test"
  assert not confusion.figure(np.eye(40, dtype=int), [str(index) for index in range(40)], "many").axes[0].texts
