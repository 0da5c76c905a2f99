"""Windows over a text: every word once, hidden states in order, lengths as published, few shapes."""

import jax
import numpy as np
import pytest

from dnas.core.errors import FieldError
from dnas.data import windows
from dnas.data.text import Config


def text_of(length):
  """A text whose words are their own positions."""
  return np.arange(length, dtype=np.int32)


def config(**changes):
  return Config(**({"batch_size": 4, "sequence_length": 10, "buckets": 1} | changes))


@pytest.mark.parametrize("length, batch_size", [(41, 4), (43, 4), (44, 4), (7, 3), (2, 1), (101, 10)])
def test_filled_columns_hold_every_target_once(length, batch_size):
  text = windows.columns(text_of(length), batch_size, padding=3, fill=True)
  assert text.count == length - 1 and text.tokens.shape == (text.rows + 4, batch_size)
  seen = []
  for start in range(0, text.rows, 3):
    words, targets, _, _ = windows.window(text, np.int32(start), np.int32(3), np.bool_(False), 3)
    weights = np.asarray(windows.counted(text, np.int32(start), 3))
    assert set(np.unique(weights)) <= {0, 1}
    seen += np.asarray(targets)[weights == 1].tolist()
    np.testing.assert_array_equal(np.asarray(targets)[weights == 1], np.asarray(words)[weights == 1] + 1)
  assert sorted(seen) == list(range(1, length))


def test_columns_of_training_leave_the_rest_of_the_division_out():
  text = windows.columns(text_of(43), 4, padding=2, fill=False)
  assert (text.rows, text.count) == (10, 40)
  np.testing.assert_array_equal(text.tokens[:11], np.arange(11)[:, None] + 10 * np.arange(4)[None])


@pytest.mark.parametrize("deviation", [0.0, 3.0])
def test_the_windows_of_an_epoch_follow_each_other_to_the_end(deviation):
  train = windows.TrainingWindows(text_of(4 * 97 + 1), config(length_deviation=deviation, short_probability=0.2), seed=1)
  for epoch in range(3):
    below = 0
    for step in range(train.end_of_epoch(epoch), train.end_of_epoch(epoch + 1)):
      batch, length = train(step), train.length(step)
      assert batch.length == length and bool(batch.first) == (below == 0)
      expected = below + np.arange(length)[:, None] + 97 * np.arange(4)[None]
      np.testing.assert_array_equal(batch.tokens[:length], expected)
      np.testing.assert_array_equal(batch.targets[:length], expected + 1)
      below += length
    assert below == 97


def lengths(train, epoch):
  """The lengths of an epoch without the last, which is cut."""
  return np.array([train.length(step) for step in range(train.end_of_epoch(epoch), train.end_of_epoch(epoch + 1) - 1)])


def test_lengths_of_the_search_are_the_base_or_half_of_it():
  train = windows.TrainingWindows(text_of(200_001), config(batch_size=1, sequence_length=35), seed=0)
  values, counts = np.unique(lengths(train, 0), return_counts=True)
  assert values.tolist() == [17, 35] and train.longest == 35
  assert 0.035 < counts[0] / counts.sum() < 0.065  # 5 % of about 5,900


def test_lengths_of_retraining_are_normal_within_bounds():
  train = windows.TrainingWindows(text_of(200_001), config(batch_size=1, sequence_length=35, length_deviation=5.0), seed=0)
  drawn = lengths(train, 0)
  assert train.longest == 55 and drawn.min() >= 5 and drawn.max() <= 55
  above = drawn[drawn >= 35] - 34.5  # half of those around 35, as far from it as a normal number is
  assert abs(np.sqrt(np.square(above).mean()) - 5) < 0.3
  assert abs(drawn.mean() - (0.95 * 35 + 0.05 * 17.5 - 0.5)) < 0.4


def test_epochs_differ_and_any_step_can_be_asked_for():
  make = lambda seed: windows.TrainingWindows(text_of(2001), config(length_deviation=2.0), seed)  # noqa: E731
  straight, other = make(3), make(4)
  steps = straight.end_of_epoch(3)
  in_order = [straight.length(step) for step in range(steps)]
  assert in_order[: straight.end_of_epoch(1)] != in_order[straight.end_of_epoch(1) : straight.end_of_epoch(2)]
  jumping = make(3)
  order = np.random.default_rng(0).permutation(steps)
  assert [jumping.length(step) for step in order] == [in_order[step] for step in order]
  assert [other.length(step) for step in range(20)] != in_order[:20]
  ends = [straight.end_of_epoch(epoch) for epoch in range(4)]
  assert ends[0] == 0 and sorted(set(ends)) == ends


@pytest.mark.parametrize("buckets", [1, 2, 5])
def test_windows_are_padded_to_the_smallest_bucket(buckets):
  train = windows.TrainingWindows(text_of(4001), config(length_deviation=2.5, short_probability=0.3, buckets=buckets), seed=0)
  sizes = [-(-train.longest * (index + 1) // buckets) for index in range(buckets)]
  shapes = set()
  for step in range(train.end_of_epoch(1)):
    shape = train(step).tokens.shape[0]
    shapes.add(shape)
    assert shape == min(size for size in sizes if size >= train.length(step))
  assert min(buckets, 2) <= len(shapes) <= buckets and train.longest == 20


def test_validation_windows_cycle_without_overlap():
  valid = windows.ValidationWindows(text_of(4 * 23 + 2), config())
  for step in range(7):
    batch, index = valid(step), step % 3
    assert (int(batch.length), bool(batch.first)) == ([10, 10, 3][index], index == 0)
    expected = 10 * index + np.arange(batch.length)[:, None] + 23 * np.arange(4)[None]
    np.testing.assert_array_equal(batch.tokens[: batch.length], expected)
    np.testing.assert_array_equal(batch.targets[: batch.length], expected + 1)


def test_a_window_is_one_program_for_each_bucket(compilations):
  train = windows.TrainingWindows(text_of(1201), config(batch_size=3, length_deviation=2.0, buckets=3), seed=0)
  train(0)
  for step in range(train.end_of_epoch(1)):
    train(step)
  with compilations() as compiled:
    for step in range(train.end_of_epoch(1), train.end_of_epoch(3)):
      train(step)
  assert compiled == []


@pytest.mark.parametrize("make, split", [(windows.TrainingWindows, "training"), (windows.ValidationWindows, "validation")])
def test_a_window_longer_than_a_column_is_refused(make, split):
  seed = (0,) if split == "training" else ()
  message = f"sequence_length is 10; with batch size 4 a column of the {split} text has 9 words, so lower the sequence length"
  with pytest.raises(FieldError, match=message):
    make(text_of(40), config(), *seed)
  make(text_of(41), config(), *seed)


def test_a_split_into_columns_is_on_the_device():
  assert isinstance(windows.columns(text_of(9), 2, 0, fill=True).tokens, jax.Array)


def test_a_column_of_one_window_is_enough():
  train, valid = windows.TrainingWindows(text_of(41), config(), seed=0), windows.ValidationWindows(text_of(41), config())
  for epoch in range(5):
    assert sum(train.length(step) for step in range(train.end_of_epoch(epoch), train.end_of_epoch(epoch + 1))) == 10
  assert [(int(valid(step).length), bool(valid(step).first)) for step in range(3)] == [(10, True)] * 3


def test_every_word_of_a_column_is_a_target_once_in_validation_too():
  valid = windows.ValidationWindows(text_of(4 * 23 + 2), config())
  targets = np.concatenate([np.asarray(valid(step).targets)[: int(valid(step).length)].ravel() for step in range(3)])
  assert sorted(targets) == list(range(1, 4 * 23 + 1))


@pytest.mark.parametrize("length", [2, 3, 7])
def test_short_base_lengths_are_halved_and_never_zero(length):
  train = windows.TrainingWindows(text_of(2001), config(sequence_length=length, short_probability=0.5), seed=0)
  assert set(lengths(train, 0).tolist()) == {length // 2, length}
  jittered = windows.TrainingWindows(text_of(2001), config(sequence_length=length, short_probability=0.5, length_deviation=2.0), seed=0)
  drawn = lengths(jittered, 0)
  assert drawn.min() == min(5, length) and drawn.max() <= jittered.longest == length + 8
