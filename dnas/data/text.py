"""Texts as values: a vocabulary, and splits of token ids.

A token is a word, or a character; every line of a text ends with the token END. The vocabulary comes from the training text alone, in the
order of first appearance, as in the published code of language models. A token that it lacks becomes UNKNOWN.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from absl import logging

from dnas.core import config
from dnas.core.errors import InputError, shown
from dnas.core.registry import Registry, is_function
from dnas.data.base import Dataset
from dnas.data.checks import checked_ids

UNKNOWN, END = "<unk>", "<eos>"
LEVELS = ("word", "character")


@dataclasses.dataclass(frozen=True)
class Config:
  """The text, and the lengths of the sequences that are cut out of it.

  Attributes:
    dataset: name of a registered text; python_docs is built in.
    data_dir: folder of the text's published files; empty for a built-in text, or to download them. For text_file it is a file or a folder
      of your own.
    valid_portion: fraction of a text of your own that is its validation part, if it has no file for it. Parts are divided off at ends of
      lines, in the order training, validation, test.
    test_portion: the same for its test part.
    level: kind of token: 'word' or 'character'.
    tokens: number of tokens to use from the start of the training text, for a short run; 0 uses all. The vocabulary stays that of the
      whole training text.
    batch_size: sequences in a training batch; the text is divided into as many columns.
    eval_batch_size: columns in validation. A column starts without context, so the number of columns changes the perplexity a little, as
      in published results.
    sequence_length: base length in tokens of truncated backpropagation through time.
    short_probability: probability that the base length of a sequence is halved.
    length_deviation: standard deviation in tokens of the length around the base length. Published retraining takes 5, the search 0.
    buckets: number of padded lengths that are compiled; 1 pads every sequence to the longest possible length.
  """

  dataset: str = config.named("python_docs", lambda: TEXTS)
  data_dir: str = ""
  valid_portion: float = 0.1
  test_portion: float = 0.1
  level: str = "word"
  tokens: int = 0
  batch_size: int = 64
  eval_batch_size: int = 10
  sequence_length: int = 35
  short_probability: float = 0.05
  length_deviation: float = 0.0
  buckets: int = 1

  def __post_init__(self):
    config.check_types(self)
    config.check_name("level", self.level, LEVELS)
    config.check(self.tokens == 0 or self.tokens >= 2, "tokens", self.tokens, "it must be at least 2, or 0 for the whole text")
    config.check_positive(batch_size=self.batch_size, eval_batch_size=self.eval_batch_size, buckets=self.buckets)
    config.check(self.sequence_length >= 2, "sequence_length", self.sequence_length, "it must be at least 2, since it is also halved")
    config.check_fraction(short_probability=self.short_probability)
    for name in ("valid_portion", "test_portion"):
      config.check(0 < getattr(self, name) < 0.5, name, getattr(self, name), "it must be above 0 and below 0.5")
    config.check_at_most(10**6, batch_size=self.batch_size, sequence_length=self.sequence_length, length_deviation=self.length_deviation)
    config.check_at_most(1000, buckets=self.buckets)
    hint = "it must be zero or more, and finite"
    config.check(0 <= self.length_deviation < math.inf, "length_deviation", self.length_deviation, hint)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The tokens that a model knows; the position of a token is its id.

  Attributes:
    words: the tokens, each once.

  Raises:
    InputError: if a word is not text, is empty, or is given twice.
  """

  words: tuple[str, ...]

  def __post_init__(self):
    for word in self.words:
      if not isinstance(word, str) or not word:
        raise InputError(f"A vocabulary contains {shown(word)}; every word must be text and not empty.")
    if len(self._ids) < len(self.words):
      twice = next(word for word, count in collections.Counter(self.words).items() if count > 1)
      raise InputError(f"A vocabulary has {shown(twice)} twice; give each word once.")

  def __len__(self) -> int:
    return len(self.words)

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return {word: i for i, word in enumerate(self.words)}

  @classmethod
  def from_tokens(cls, tokens: Iterable[str], smallest_count: int = 1) -> "Vocabulary":
    """Returns the tokens of a text in the order of first appearance, and UNKNOWN at the end unless the text has it.

    Args:
      tokens: the training text.
      smallest_count: tokens that occur less often are left out.
    """
    kept = [token for token, count in collections.Counter(tokens).items() if count >= smallest_count]
    return cls((*kept, UNKNOWN) if UNKNOWN not in kept else tuple(kept))

  def encode(self, tokens: Iterable[str]) -> tuple[np.ndarray, int]:
    """Returns the ids of tokens, int32 [N], and for how many of them the id of UNKNOWN stands because the vocabulary lacks them.

    Raises:
      InputError: if a token is lacking, and so is UNKNOWN.
    """
    tokens = list(tokens)
    ids = np.fromiter((self._ids.get(token, -1) for token in tokens), np.int32, len(tokens))
    lacking = np.flatnonzero(ids < 0)
    if len(lacking) and UNKNOWN not in self._ids:
      raise InputError(f"The vocabulary lacks {shown(tokens[lacking[0]])}, and has no '{UNKNOWN}'; add one of the two words.")
    ids[lacking] = self._ids.get(UNKNOWN, -1)
    return ids, len(lacking)

  def decode(self, ids: Iterable[int]) -> list[str]:
    """Returns the tokens of ids."""
    return [self.words[i] for i in ids]

  def to_text(self) -> str:
    """Returns one word a line; a word with a backslash or an unprintable character is written with the escapes of a Python string."""
    return "".join(f"{_escaped(word)}\n" for word in self.words)

  @classmethod
  def from_text(cls, text: str) -> "Vocabulary":
    """Returns the vocabulary that `to_text` wrote.

    Raises:
      InputError: if a line is empty or has a broken escape, or a word occurs twice.
    """
    lines = text.removesuffix("\n").split("\n")
    counts = collections.Counter(lines)
    for number, line in enumerate(lines, start=1):
      if not line or counts[line] > 1:
        raise InputError(f"Line {number} of the vocabulary, {shown(line)}, is {'given twice' if line else 'empty'}; remove it.")
    return cls(tuple(_unescaped(line) if "\\" in line else line for line in lines))


@dataclasses.dataclass(frozen=True, eq=False)
class TextDataset(Dataset[np.ndarray]):
  """A text in three splits; `open_test` returns the ids of the third, int32 [N]. What is given is checked.

  Attributes:
    level: what a token is, 'word' or 'character'.
    train: ids of the training text, int32 [N].
    valid: ids of the validation text, int32 [N].
    vocabulary: of the whole training text.
    unknown: split, 'train' and 'valid', to how many of its tokens the vocabulary lacks.

  Raises:
    InputError: for ids that are none of the vocabulary, of another type or shape, or fewer than two in a split.
  """

  level: str
  train: np.ndarray
  valid: np.ndarray
  vocabulary: Vocabulary
  unknown: Mapping[str, int]

  def __post_init__(self):
    for split in ("train", "valid"):
      object.__setattr__(self, split, self._checked(getattr(self, split), split))

  def checked_test(self, test: np.ndarray) -> np.ndarray:
    """See `Dataset`."""
    return self._checked(test, "test")

  def _checked(self, ids: np.ndarray, split: str) -> np.ndarray:
    return checked_ids(ids, len(self.vocabulary), f"{split} text of '{self.name}'")


TEXTS: Registry[Callable[..., TextDataset]] = Registry("text dataset", is_function("a function of the data folder and the level"))
"""Name to loader, a function of the data folder and the level; a `text_file.OwnText` also takes the configuration. `dnas.data.datasets` has
registered them all once it is imported."""


def from_lines(name: str, level: str, read: Callable[[str], Iterable[str]], smallest_count: int = 1) -> TextDataset:
  """Returns the data set of a text, and logs how many tokens of a split its vocabulary lacks.

  Args:
    name: the name under which it is registered.
    level: 'word' or 'character'.
    read: 'train', 'valid' or 'test' to the lines of that split. Only `open_test` reads 'test'.
    smallest_count: tokens that occur less often in the training text become UNKNOWN.

  Raises:
    FieldError: for an unknown level.
    InputError: if a split has less than two tokens, or `read` raises it.
  """
  config.check_name("data.level", level, LEVELS)
  train_tokens = list(tokens_of(read("train"), level))
  vocabulary = Vocabulary.from_tokens(train_tokens, smallest_count)
  train, train_unknown = _encode(name, "train", train_tokens, vocabulary)
  valid, valid_unknown = _encode(name, "valid", tokens_of(read("valid"), level), vocabulary)
  unknown = {"train": train_unknown, "valid": valid_unknown}

  def read_test() -> np.ndarray:
    return _encode(name, "test", tokens_of(read("test"), level), vocabulary)[0]

  return TextDataset(name, level, train, valid, vocabulary, unknown, _read_test=read_test)


def tokens_of(lines: Iterable[str], level: str) -> Iterator[str]:
  """Yields the words, or the characters, of every line, and END after each line."""
  for line in lines:
    yield from line.split() if level == "word" else line
    yield END


def first_tokens(dataset: TextDataset, tokens: int) -> TextDataset:
  """Returns the data set with only the first tokens of its training text; 0 keeps all. Its vocabulary and counts stay as they are.

  Raises:
    FieldError: if there are fewer.
  """
  train = dataset.train
  hint = f"the training text of '{dataset.name}' has {len(train)}, so give at most that, or 0 for all"
  config.check(tokens <= len(train), "data.tokens", tokens, hint)
  return dataclasses.replace(dataset, train=train[: tokens or None])


def _encode(name: str, split: str, tokens: Iterable[str], vocabulary: Vocabulary) -> tuple[np.ndarray, int]:
  ids, unknown = vocabulary.encode(tokens)
  if unknown:
    fraction = unknown / len(ids)
    logging.info("The vocabulary lacks %d tokens, %.2f %%, of the %s text of '%s'.", unknown, 100 * fraction, split, name)
  return ids, unknown


def _escaped(word: str) -> str:
  return word if word.isprintable() and "\\" not in word else word.encode("unicode_escape").decode("ascii")


_WITH_ESCAPES = re.compile(r"""(?:[^\\]|\\(?:[\\'"abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*""")


def _unescaped(line: str) -> str:
  try:
    if _WITH_ESCAPES.fullmatch(line):  # others mean something else from Python to Python, if anything
      return line.encode("ascii").decode("unicode_escape")
  except UnicodeError:
    pass
  raise InputError(f"The word {shown(line)} of the vocabulary has a broken escape; write it as in a Python string.")
