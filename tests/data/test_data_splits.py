"""Divisions of a training set: exact sizes, order, shares of the classes, missing classes, and weights of the classes."""

import dataclasses

import numpy as np
import pytest

from dnas.core.errors import FieldError
from dnas.data import base, splits

SORTED = np.repeat(range(4), 96)
UNEVEN = np.random.default_rng(0).permutation(np.repeat(range(4), (70, 21, 6, 3)))


def own(labels, num_classes=4, **changes) -> base.ImageDataset:
  """A set of a user's own with these labels; the first two pixels of an image tell its number."""
  images = np.zeros((len(labels), 2, 1, 1), np.uint8)
  images[:, 0, 0, 0], images[:, 1, 0, 0] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
  split = base.Split(images, np.array(labels))
  names = tuple("abcdefghij"[:num_classes])
  return dataclasses.replace(base.ImageDataset("own", split, num_classes, (0.0,), (1.0,), names, _read_test=lambda: split), **changes)


def numbers(split: base.Split) -> list[int]:
  images = split.images.astype(int)
  return (images[:, 0, 0, 0] + 256 * images[:, 1, 0, 0]).tolist()


def shares(part: base.Split) -> list[int]:
  return np.bincount(part.labels, minlength=4).tolist()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
  lines = []
  monkeypatch.setattr(base.logging, "warning", lambda text, *values, **_: lines.append(text % values))
  return lines


@pytest.mark.parametrize("name", tuple(splits.SPLITS))
@pytest.mark.parametrize("labels", [SORTED, UNEVEN], ids=["sorted", "uneven"])
@pytest.mark.parametrize("portion", [0.37, 0.5, 0.9])
def test_a_division_has_the_sizes_of_the_contiguous_one_keeps_the_order_and_loses_nothing(name, labels, portion):
  dataset = own(labels, published=True)
  train, valid = base.search_split(dataset, base.Config(train_portion=portion, split=name))
  assert len(train) == int(portion * len(labels))
  for part in (train, valid):
    assert numbers(part) == sorted(numbers(part)) and part.labels.tolist() == labels[numbers(part)].tolist()
  assert sorted(numbers(train) + numbers(valid)) == list(range(len(labels)))


@pytest.mark.parametrize("name", ["shuffled", "stratified"])
def test_a_division_is_a_function_of_its_seed(name):
  def parts(seed):
    return numbers(base.search_split(own(SORTED), base.Config(split=name, split_seed=seed))[0])

  assert parts(0) == parts(0) != parts(1) != list(range(192))


@pytest.mark.parametrize("count", [1, 7, 20, 50, 99])
@pytest.mark.parametrize("seed", [0, 5])
def test_every_class_is_within_one_example_of_its_share(count, seed):
  chosen = splits.SPLITS["stratified"](UNEVEN, count, seed)
  assert chosen.sum() == count
  for label, size in enumerate((70, 21, 6, 3)):
    assert abs(chosen[label == UNEVEN].sum() - size * count / 100) < 1


def test_what_rounding_leaves_goes_to_the_largest_remainders():
  labels = np.repeat(range(3), (5, 3, 2))  # shares of 3 of 10: 1.5, 0.9, 0.6
  assert np.bincount(labels[splits.SPLITS["stratified"](labels, 3, 0)]).tolist() == [1, 1, 1]
  assert np.bincount(labels[splits.SPLITS["stratified"](labels, 5, 0)], minlength=3).tolist() == [3, 1, 1]  # 2.5, 1.5, 1: a tie


def test_the_default_is_stratified_for_own_sets_and_contiguous_for_published_ones(warnings):
  train, valid = base.search_split(own(SORTED), base.Config())
  assert shares(train) == shares(valid) == [48] * 4 and not warnings
  train, valid = base.search_split(own(SORTED, published=True), base.Config())
  assert numbers(train) == list(range(192)) and shares(valid) == [0, 0, 96, 96]
  assert warnings == [
    "The training part of 'own' has no example of the class 'c' and 1 other classes (96 of 384 examples are of it).",
    "The validation part of 'own' has no example of the class 'a' and 1 other classes (96 of 384 examples are of it).",
  ]


def test_some_examples_are_chosen_as_the_set_is_divided():
  config = base.Config(examples=40)
  assert shares(base.some_examples(own(SORTED), config).train) == [10] * 4
  assert numbers(base.some_examples(own(SORTED, published=True), config).train) == list(range(40))
  dataset = own(SORTED)
  assert base.some_examples(dataset, base.Config()) is dataset
  assert base.subset(dataset, 384, base.Config()) is base.subset(dataset, 1000, base.Config()) is dataset.train
  with pytest.raises(FieldError, match=r"^data\.examples is 385; the training set of 'own' has 384, so give at most that, or 0 for all\.$"):
    base.some_examples(dataset, base.Config(examples=385))


@pytest.mark.parametrize(
  ("labels", "config", "message"),
  [
    (
      SORTED,
      base.Config(split="contiguous"),
      r"^data\.split is contiguous; the training part .*'c' and 1 other.*; give --data\.split=",
    ),
    (
      [0] * 9 + [1] * 9 + [2] * 9 + [3],
      base.Config(),
      r"^data\.split is stratified; .* class 'd' \(1 of 28.*; give more examples of it",
    ),
    (
      [0, 1, 2] * 6,
      base.Config(),
      r"^data\.examples is 0; .* class 'd' \(0 of 18 .*; give examples of it, or leave it out",
    ),
    (
      SORTED,
      base.Config(split="contiguous", examples=96),
      r"^data\.examples is 96; .* \(0 of 96 examples are of it\); give more ",
    ),
    (
      SORTED,
      base.Config(split="contiguous", split_seed=1),
      r"^data\.split_seed is 1; the division of 'own' is contiguous, so",
    ),
  ],
)
def test_a_class_that_is_missing_in_a_part_of_an_own_set_is_an_error(labels, config, message):
  with pytest.raises(FieldError, match=message):
    base.search_split(base.some_examples(own(labels), config), config)


def test_training_on_everything_has_no_validation_part_and_misses_no_class(warnings):
  dataset, whole = own(SORTED), base.Config(train_portion=1.0)
  assert base.training_split(dataset, whole) == (dataset.train, None)
  assert [len(part) for part in base.training_split(dataset, base.Config(train_portion=0.75))] == [288, 96]
  with pytest.raises(FieldError, match="the training part of 'own' has no example of the class 'd'"):
    base.training_split(own([0, 1, 2]), whole)
  base.training_split(own([0, 1, 2], published=True), whole)
  assert len(warnings) == 1


def test_balanced_weights_are_inverse_to_the_frequencies_with_a_mean_of_one():
  train = own(UNEVEN).train
  assert base.class_weights(train, 4, "none") is None
  weights = np.array(base.class_weights(train, 4, "balanced"))
  np.testing.assert_allclose(weights * np.array([70, 21, 6, 3]), 25.0)
  assert weights[train.labels].mean() == pytest.approx(1)
  assert base.class_weights(own([0, 0, 2]).train, 4, "balanced") == (0.75, 0.0, 1.5, 0.0)
