"""Small synthetic sets for tests and demonstrations: images whose classes are coloured patterns, and a text from a Markov chain."""

import functools

import numpy as np

from dnas.data import text
from dnas.data.base import DATASETS, ImageDataset, Split, channel_statistics, refuse_data_dir

NUM_TRAIN, NUM_TEST = 512, 128
COLOURS = {"red": (170, 80, 80), "green": (80, 170, 80), "blue": (80, 80, 170), "grey": (110, 110, 110)}
NUM_TOKENS = {"train": 6000, "valid": 1200, "test": 1200}
WORDS = "the a old new red small dog cat bird child house tree saw heard found liked near under and then".split()


@DATASETS.register("synthetic")
def synthetic(data_dir: str) -> ImageDataset:
  """Makes 512 training and 128 test images of 8x8x3 pixels in four balanced classes; the same ones every time.

  Args:
    data_dir: must be empty.
  """
  refuse_data_dir("synthetic", data_dir)
  train = _draw(NUM_TRAIN, seed=0)
  mean, std = channel_statistics(train.images)
  names = tuple(COLOURS)
  return ImageDataset("synthetic", train, len(names), mean, std, names, published=True, _read_test=lambda: _draw(NUM_TEST, seed=1))


def _draw(count: int, seed: int) -> Split:
  patterns = np.random.default_rng(2).normal(0, 20, size=(len(COLOURS), 8, 8, 3))
  templates = np.array(list(COLOURS.values()))[:, None, None, :] + patterns
  labels = np.arange(count, dtype=np.int32) % len(COLOURS)
  noise = np.random.default_rng(seed).normal(0, 25, size=(count, 8, 8, 3))
  return Split(np.clip(templates[labels] + noise, 0, 255).astype(np.uint8), labels)


@text.TEXTS.register("synthetic_text")
def synthetic_text(data_dir: str, level: str) -> text.TextDataset:
  """Draws a text of 20 words, 6,000 tokens to train and 1,200 each to validate and to test; the same one every time.

  The words and line ends are a Markov chain of first order, so no model has a perplexity below exp(`entropy_rate()`) but by chance.

  Args:
    data_dir: must be empty.
    level: 'word' or 'character'.
  """
  refuse_data_dir("synthetic_text", data_dir)
  return text.from_lines("synthetic_text", level, _draw_lines)


@functools.cache
def transition_matrix() -> np.ndarray:
  """Returns [21, 21]: the probability that a token (row) is followed by another (column); the last one is the line end."""
  count = len(WORDS)
  following = np.random.default_rng(3).dirichlet(np.full(count, 0.2), size=count + 1)
  end = np.append(np.full(count, 0.1), 0.0)[:, None]
  return np.concatenate([following * (1 - end), end], axis=1)


def entropy_rate() -> float:
  """Returns the entropy in nats of a token of the synthetic text given the token before, -sum_i pi_i sum_j P_ij log P_ij."""
  p = transition_matrix()
  stationary = np.linalg.matrix_power(p, 10_000)[0]
  return float(-stationary @ np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1))


def _draw_lines(split: str) -> list[str]:
  """Returns lines that have together as many words and line ends as the split."""
  uniform = np.random.default_rng(list(NUM_TOKENS).index(split)).random(NUM_TOKENS[split] - 1)
  cumulative, token, lines = np.cumsum(transition_matrix(), axis=1), len(WORDS), [[]]
  for u in uniform:
    token = int(np.searchsorted(cumulative[token, :-1], u, side="right"))
    lines[-1].append(WORDS[token]) if token < len(WORDS) else lines.append([])
  return [" ".join(words) for words in lines]
