"""Windows over a text that lives on the device: truncated backpropagation of varying length, and validation that counts every word once.

A text is laid out in columns, each a stretch of consecutive words, read side by side as a batch; windows follow each other down the
columns, so the hidden states at the end of one window start the next. Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM
Language Models", ICLR 2018, section 4.1 (variable length).

Windows are padded to few lengths, the buckets, each of which compiles once.
"""

import bisect
import copy
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import devices, errors, keys
from dnas.core.config import check
from dnas.data.text import Config

SHORTEST = 5
"""Words of the shortest window that is drawn, but for the last of an epoch and a base length below it."""

DEVIATIONS = 4
"""How many standard deviations the longest window is above the base length."""


class Window(NamedTuple):
  """A batch of text.

  Attributes:
    tokens: words, int32 [T, B].
    targets: the next word of each token, int32 [T, B].
    length: how many time steps count, an int32 scalar, at most T.
    first: whether the window is the first of its columns, so that hidden states begin at zero; a bool scalar.
  """

  tokens: jax.Array
  targets: jax.Array
  length: jax.Array
  first: jax.Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["tokens"], meta_fields=["rows", "count"])
@dataclasses.dataclass(frozen=True)
class Columns:
  """A text in columns; the last word of a column is the first of the next, as the target of one and the input of the other.

  Attributes:
    tokens: int32 [rows + 1 + padding, B].
    rows: how many inputs a column has.
    count: how many targets there are in all, in the order of the text; what is beyond them fills up the last columns.
  """

  tokens: jax.Array
  rows: int
  count: int


def columns(tokens: np.ndarray, batch_size: int, padding: int, fill: bool) -> Columns:
  """Lays a text out on the device.

  Args:
    tokens: the text, int32 [N], N at least 2.
    batch_size: B, how many columns.
    padding: how many rows to add below, so that a padded window fits.
    fill: whether the last columns are filled up, so that all N - 1 targets are there; otherwise the rest of the division is left out.
  """
  count = len(tokens) - 1
  rows = -(-count // batch_size) if fill else count // batch_size
  positions = np.arange(rows + 1 + padding)[:, None] + rows * np.arange(batch_size)[None]
  words = devices.replicate(jnp.asarray(tokens[np.minimum(positions, count)], jnp.int32))
  return Columns(words, rows, min(count, rows * batch_size))


@functools.partial(jax.jit, static_argnums=4)
def window(text: Columns, start: jax.Array, length: jax.Array, first: jax.Array, padded: int) -> Window:
  """Returns the window of `length` words from row `start` on, padded to `padded`."""
  words = jax.lax.dynamic_slice_in_dim(text.tokens, start, padded + 1)
  return Window(words[:-1], words[1:], length, first)


def counted(text: Columns, start: jax.Array, length: int) -> jax.Array:
  """Returns 1 for the targets of a window that belong to the text and 0 for the filling, float32 [length, B]."""
  rows = start + jnp.arange(length)[:, None]
  position = rows + text.rows * jnp.arange(text.tokens.shape[1])[None]
  return ((rows < text.rows) & (position < text.count)).astype(jnp.float32)


class TrainingWindows:
  """Training windows; every epoch draws new ones, from the seed and the epoch's number alone.

  A base length is that of the configuration, or half of it with a small probability; where a deviation is given, the length is normal
  around the base, at least 5 and at most the base length and four deviations.
  """

  def __init__(self, tokens: np.ndarray, config: Config, seed: int):
    """Lays the text out on the device. Raises FieldError if a column is shorter than a window."""
    self._config, self._seed = config, seed
    self.longest = config.sequence_length + round(DEVIATIONS * config.length_deviation)
    self._buckets = tuple(-(-self.longest * (index + 1) // config.buckets) for index in range(config.buckets))
    check_length(config, (len(tokens) - 1) // config.batch_size, "training")
    self._columns = columns(tokens, config.batch_size, self.longest, fill=False)
    self._ends = [0]
    self._drawn: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

  def reseeded(self, seed: int) -> "TrainingWindows":
    """Returns windows of the same text, drawn from another seed; the text is on the device once."""
    other = copy.copy(self)
    other._seed, other._ends, other._drawn = seed, [0], (-1, np.zeros(0), np.zeros(0))
    return other

  def end_of_epoch(self, epoch: int) -> int:
    """Returns how many steps `epoch` epochs take."""
    while len(self._ends) <= epoch:
      self._ends.append(self._ends[-1] + len(self._draw(len(self._ends) - 1)[0]))
    return self._ends[epoch]

  def length(self, step: int) -> int:
    """Returns the number of words in each column of the window of a step, counted over all epochs."""
    return int(self._at(step)[1])

  def __call__(self, step: int) -> Window:
    """Returns the window of a step, counted over all epochs."""
    start, length = self._at(step)
    padded = next(bucket for bucket in self._buckets if bucket >= length)
    return window(self._columns, np.int32(start), np.int32(length), np.bool_(start == 0), padded)

  def _at(self, step: int) -> tuple[int, int]:
    while self._ends[-1] <= step:
      self.end_of_epoch(len(self._ends))
    epoch = bisect.bisect_right(self._ends, step) - 1
    if self._drawn[0] != epoch:
      self._drawn = (epoch, *self._draw(epoch))
    index = step - self.end_of_epoch(epoch)
    return self._drawn[1][index], self._drawn[2][index]

  def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns start and length of all windows of an epoch."""
    config, rng = self._config, keys.generator(self._seed, "windows", epoch)
    size = self._columns.rows // min(SHORTEST, config.sequence_length // 2) + 1  # enough even if every window has the least length
    base = np.where(rng.random(size) < config.short_probability, config.sequence_length / 2, config.sequence_length)
    lengths = base.astype(np.int64)
    if config.length_deviation:
      lengths = np.clip(rng.normal(base, config.length_deviation).astype(np.int64), min(SHORTEST, config.sequence_length), self.longest)
    ends = np.cumsum(lengths)
    count = int(np.searchsorted(ends, self._columns.rows)) + 1
    starts = np.concatenate([[0], ends[: count - 1]])
    return starts, np.minimum(lengths[:count], self._columns.rows - starts)


class ValidationWindows:
  """The windows on which a search trains its architecture: consecutive, of one length, and again from the first after the last."""

  def __init__(self, tokens: np.ndarray, config: Config):
    """Lays the text out on the device. Raises FieldError if a column is shorter than a window."""
    self._length = config.sequence_length
    check_length(config, (len(tokens) - 1) // config.batch_size, "validation")
    self._columns = columns(tokens, config.batch_size, self._length, fill=False)
    self._count = -(-self._columns.rows // self._length)

  def __call__(self, step: int) -> Window:
    """Returns the window of a step."""
    index = step % self._count
    start = index * self._length
    length = min(self._length, self._columns.rows - start)
    return window(self._columns, np.int32(start), np.int32(length), np.bool_(index == 0), self._length)


def check_length(config: Config, rows: int, split: str) -> None:
  """Raises FieldError if a column of `rows` words is shorter than a window, or the devices cannot share the columns."""
  devices.check_batch("data.batch_size", config.batch_size)
  words = errors.counted(rows, "word")
  hint = f"with batch size {config.batch_size} a column of the {split} text has {words}, so lower the sequence length or the batch size"
  check(config.sequence_length <= rows, "data.sequence_length", config.sequence_length, hint)
