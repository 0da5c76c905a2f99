"""Texts: vocabularies, tokens, the data sets with their published counts, reading the test split, and bad files."""

import hashlib
import math
import os
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from dnas.core import config
from dnas.core.errors import FieldError, InputError
from dnas.data import base, datasets, ptb, published, synthetic, text, wikitext2
from dnas.data.text import END, UNKNOWN, Vocabulary

DATA_DIR = os.environ.get("DNAS_DATA_DIR", "")
BUILT_IN = ("python_docs", "synthetic_text")
LINES = {"train": ["the cat saw the dog", "", "a dog"], "valid": ["a cat saw a bird"], "test": ["the bird", "saw"]}

needs_data = pytest.mark.skipif(not DATA_DIR, reason="the published texts are read where DNAS_DATA_DIR names the folder around them")


def _text(level: str = "word", smallest_count: int = 1) -> text.TextDataset:
  return text.from_lines("lines", level, LINES.__getitem__, smallest_count)


def _ptb_folder(folder: pathlib.Path) -> pathlib.Path:
  for split, lines in LINES.items():
    (folder / f"ptb.{split}.txt").write_text("".join(f" {line} \n" for line in lines))
  return folder


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
  """The lines that are logged, in order."""
  lines = []

  def keep(line: str, *values: object, **_: object) -> None:
    lines.append(line % values)

  for module, name in ((text, "info"), (published, "warning"), (base, "info")):
    monkeypatch.setattr(module.logging, name, keep)
  return lines


# Vocabularies


def test_a_vocabulary_is_in_the_order_of_first_appearance_with_unknown_last():
  vocabulary = Vocabulary.from_tokens(["b", "a", "b", "c", "a"])
  assert vocabulary.words == ("b", "a", "c", UNKNOWN) and len(vocabulary) == 4
  assert Vocabulary.from_tokens(["b", "a", "b", "c", "a"], smallest_count=2).words == ("b", "a", UNKNOWN)
  assert Vocabulary.from_tokens(["b", UNKNOWN, "a"]).words == ("b", UNKNOWN, "a")


def test_words_go_to_ids_and_back_and_lacking_ones_are_counted():
  vocabulary = Vocabulary(("b", UNKNOWN, "a"))
  ids, unknown = vocabulary.encode(iter(["a", "x", "b", UNKNOWN, "y"]))
  assert ids.dtype == np.int32 and ids.tolist() == [2, 1, 0, 1, 1]
  assert unknown == 2, "a written '<unk>' is not a lacking word"
  assert vocabulary.decode(ids) == ["a", UNKNOWN, "b", UNKNOWN, UNKNOWN]
  assert vocabulary.encode([])[0].shape == (0,)


def test_a_lacking_word_without_the_unknown_word_is_refused():
  with pytest.raises(InputError, match=r"^The vocabulary lacks 'x', and has no '<unk>'; .*\.$"):
    Vocabulary(("a", "b")).encode(["a", "x"])


@pytest.mark.parametrize("words", [("a", END, UNKNOWN), (" ", "\r", "\n", "\x85", "\u2028", "\\", "\\n", "é", "\x00"), ("naïve", "x\\y")])
def test_a_vocabulary_survives_its_text(words: tuple[str, ...]):
  written = Vocabulary(words).to_text()
  assert written.isascii() or written.replace("\n", "").isprintable()
  assert len(written.splitlines()) == len(words)
  assert Vocabulary.from_text(written) == Vocabulary(words)


@pytest.mark.parametrize(
  ("written", "expected"),
  [
    ("a\n\nb\n", "Line 2 of the vocabulary, '', is empty; remove it."),
    ("", "Line 1 of the vocabulary, '', is empty; remove it."),
    ("a\nb\na\n", "Line 1 of the vocabulary, 'a', is given twice; remove it."),
    ("ab\na\\x62\n", "A vocabulary has 'ab' twice; give each word once."),
    ("\\8\n", r"The word '\\8' of the vocabulary has a broken escape; write it as in a Python string."),
    ("a\n\\x\n", r"The word '\\x' of the vocabulary has a broken escape; write it as in a Python string."),
  ],
)
def test_a_damaged_vocabulary_is_refused(written: str, expected: str):
  with pytest.raises(InputError) as error:
    Vocabulary.from_text(written)
  assert str(error.value) == expected


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (("a", "b", "a"), "A vocabulary has 'a' twice; give each word once."),
    (("a", ""), "A vocabulary contains ''; every word must be text and not empty."),
    (("a", None), "A vocabulary contains None"),
    ((["a"],), "A vocabulary contains ['a']"),
  ],
)
def test_words_that_cannot_be_told_apart_are_refused(words: tuple, expected: str):
  with pytest.raises(InputError) as error:
    Vocabulary(words)
  assert str(error.value).startswith(expected)


@pytest.mark.parametrize("name", ["none.txt", "a\0b", "\ud800", "x" * 5000])
def test_lines_of_a_path_that_no_file_has(tmp_path, name: str):
  with pytest.raises(InputError) as error:
    published.read_lines(tmp_path / name, 3)
  assert "cannot be read" in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 1100


# Data sets from lines


def test_every_line_ends_with_the_end_token():
  dataset = _text()
  assert dataset.vocabulary.words == ("the", "cat", "saw", "dog", END, "a", UNKNOWN)
  assert dataset.train.tolist() == [0, 1, 2, 0, 3, 4, 4, 5, 3, 4]
  assert dataset.valid.tolist() == [5, 1, 2, 5, 6, 4] and dataset.valid.dtype == np.int32
  assert dataset.unknown == {"train": 0, "valid": 1}


def test_the_character_level_reads_the_characters_of_the_lines():
  dataset = _text("character")
  decoded = dataset.vocabulary.decode(dataset.train)
  assert "".join("\n" if token == END else token for token in decoded) == "the cat saw the dog\n\na dog\n"
  assert dataset.vocabulary.words == (*"the caswdog", END, UNKNOWN)
  assert dataset.unknown["valid"] == 3, "b, i and r"


def test_rare_words_become_unknown_in_every_split(log: list[str]):
  dataset = _text(smallest_count=2)
  assert dataset.vocabulary.words == ("the", "dog", END, UNKNOWN)
  assert dataset.unknown == {"train": 3, "valid": 5}
  assert dataset.vocabulary.decode(base.open_test(dataset, "a test of it")) == ["the", UNKNOWN, END, UNKNOWN, END]
  assert log == [
    "The vocabulary lacks 3 tokens, 30.00 %, of the train text of 'lines'.",
    "The vocabulary lacks 5 tokens, 83.33 %, of the valid text of 'lines'.",
    "The test set of 'lines' is opened: a test of it",
    "The vocabulary lacks 2 tokens, 40.00 %, of the test text of 'lines'.",
  ]


def test_the_test_text_is_read_by_one_function_alone(log: list[str]):
  asked = []
  dataset = text.from_lines("lines", "word", lambda split: asked.append(split) or LINES[split])
  text.first_tokens(dataset, 3)
  assert asked == ["train", "valid"] and "read_test" not in repr(dataset)
  ids = base.open_test(dataset, "the final training")
  assert asked == ["train", "valid", "test"] and ids.tolist() == [0, 6, 4, 2, 4] and ids.dtype == np.int32
  assert "The test set of 'lines' is opened: the final training" in log


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_text_of_one_token_is_refused(split: str):
  lines = LINES | {split: [""]}
  with pytest.raises(InputError, match=rf"^The {split} text of 'lines' has 1 token\(s\); give at least two"):
    base.open_test(text.from_lines("lines", "word", lines.__getitem__), "a test of it")


def test_first_tokens_cuts_the_training_text_alone():
  dataset = _text()
  cut = text.first_tokens(dataset, 4)
  assert cut.train.tolist() == dataset.train[:4].tolist() and cut.vocabulary == dataset.vocabulary
  np.testing.assert_array_equal(cut.valid, dataset.valid)
  np.testing.assert_array_equal(base.open_test(cut, "a test of it"), base.open_test(dataset, "a test of it"))
  assert len(text.first_tokens(dataset, 0).train) == len(text.first_tokens(dataset, 10).train) == 10
  with pytest.raises(FieldError) as error:
    text.first_tokens(dataset, 11)
  assert str(error.value) == "data.tokens is 11; the training text of 'lines' has 10, so give at most that, or 0 for all."


def test_an_unknown_level_is_refused_with_the_nearest_one():
  expected = r"^data\.level is words; did you mean 'word'\? It can be character, word\.$"
  with pytest.raises(FieldError, match=expected):
    datasets.load_text("synthetic_text", "", "words")


# Configuration


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("level", "letter"),
    ("tokens", -1),
    ("tokens", 1),
    ("batch_size", 0),
    ("eval_batch_size", 0),
    ("sequence_length", 1),
    ("short_probability", 1.0),
    ("short_probability", -0.1),
    ("length_deviation", -1.0),
    ("length_deviation", math.inf),
    ("length_deviation", math.nan),
    ("buckets", 0),
  ],
)
def test_a_bad_configuration_names_its_field(field: str, value: object):
  with pytest.raises(FieldError, match=rf"^{field} is {value}; .*\.$"):
    text.Config(**{field: value})


def test_every_field_of_the_configuration_has_a_help_text():
  assert all(config.help_texts(text.Config).values())


def test_a_configuration_chooses_the_text():
  dataset = datasets.text_from_config(text.Config(dataset="synthetic_text", level="character", tokens=50))
  assert (dataset.name, dataset.level, len(dataset.train)) == ("synthetic_text", "character", 50)
  with pytest.raises(FieldError, match=r"^data\.tokens is 7000; "):
    datasets.text_from_config(text.Config(dataset="synthetic_text", tokens=7000))
  with pytest.raises(InputError, match="unknown text dataset 'digits'.*Known: ptb, python_docs, synthetic_text, text_file, wikitext2"):
    datasets.load_text("digits")


# Built-in texts


@pytest.mark.parametrize("level", text.LEVELS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_text_conforms(name: str, level: str):
  dataset, again = datasets.load_text(name, "", level), datasets.load_text(name, "", level)
  test = base.open_test(dataset, "its conformance")
  np.testing.assert_array_equal(dataset.train, again.train)
  np.testing.assert_array_equal(test, base.open_test(again, "its conformance"))
  assert (dataset.name, dataset.level) == (name, level)
  for ids in (dataset.train, dataset.valid, test):
    assert ids.dtype == np.int32 and ids.ndim == 1 and 0 <= ids.min() and ids.max() < len(dataset.vocabulary)
    assert dataset.vocabulary.words[ids[-1]] == END
  known = set(dataset.train.tolist()) | {dataset.vocabulary.words.index(UNKNOWN)}
  assert known == set(range(len(dataset.vocabulary))), "a word never occurs in the training text"
  assert Vocabulary.from_text(dataset.vocabulary.to_text()) == dataset.vocabulary


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_folder_for_a_built_in_text_is_refused(name: str):
  with pytest.raises(FieldError, match=rf"^data\.data_dir is /data; the data set '{name}' is built in"):
    datasets.load_text(name, "/data")


def test_the_synthetic_text_follows_its_chain():
  p = synthetic.transition_matrix()
  np.testing.assert_allclose(p.sum(1), 1)
  dataset = datasets.load_text("synthetic_text")
  sizes = len(dataset.train), len(dataset.valid), len(base.open_test(dataset, "a test of it"))
  assert sizes == (6000, 1200, 1200) and len(dataset.vocabulary) == 22
  order = [[*synthetic.WORDS, END].index(word) if word != UNKNOWN else -1 for word in dataset.vocabulary.words]
  tokens = np.array(order)[dataset.train]
  counts = np.zeros((21, 21))
  np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
  assert counts[p == 0].sum() == 0
  assert np.abs(counts / counts.sum(1, keepdims=True) - p).max() < 0.1
  loss = -np.log(p[tokens[:-1], tokens[1:]]).mean()
  assert abs(loss - synthetic.entropy_rate()) < 0.04, "the loss of the true model is the entropy rate"
  shares = np.bincount(tokens) / len(tokens)
  assert -(shares * np.log(shares)).sum() > synthetic.entropy_rate() + 0.8, "there is something to learn from the token before"


# Files


@pytest.mark.parametrize("write", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t.removesuffix("\n")])
def test_ptb_reads_its_folder_or_the_one_around_it(tmp_path: pathlib.Path, log: list[str], write: Callable[[str], str]):
  folder = tmp_path / "ptb"
  folder.mkdir()
  for path in _ptb_folder(folder).iterdir():
    path.write_bytes(write(path.read_text()).encode())
  for data_dir in (tmp_path, folder):
    for level in text.LEVELS:
      dataset, expected = datasets.load_text("ptb", str(data_dir), level), _text(level)
      np.testing.assert_array_equal(dataset.train, expected.train)
      np.testing.assert_array_equal(base.open_test(dataset, "a test of it"), base.open_test(expected, "a test of it"))
  warning = "ptb.train.txt has 10 words and line ends, and the published text 929,589: results do not compare with published ones."
  assert log[0] == f"{folder}/{warning}"


def test_wikitext2_keeps_case_and_blank_lines(tmp_path: pathlib.Path):
  for split in ("train", "valid", "test"):
    (tmp_path / f"wiki.{split}.tokens").write_text(" \n = Café = \n \n The <unk> \n")
  dataset = datasets.load_text("wikitext2", str(tmp_path))
  assert dataset.vocabulary.words == (END, "=", "Café", "The", UNKNOWN)
  assert dataset.train.tolist() == [0, 1, 2, 1, 0, 0, 3, 4, 0] == dataset.valid.tolist()
  assert dataset.unknown == {"train": 0, "valid": 0}


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (b"", " holds no words; give text in UTF-8."),
    (b" \n\n", " holds no words; give text in UTF-8."),
    ("café au lait".encode("latin-1"), " is not UTF-8 (byte 4 is 0xe9); convert it to UTF-8."),
    ("a cat".encode("utf-16"), " is not UTF-8 (byte 1 is 0xff); convert it to UTF-8."),
    (b"a\0cat\n", " is a binary file (it holds a zero byte); give plain text in UTF-8."),
  ],
)
def test_a_bad_file_is_named(tmp_path: pathlib.Path, content: bytes, expected: str):
  path = _ptb_folder(tmp_path) / "ptb.valid.txt"
  path.write_bytes(content)
  with pytest.raises(InputError) as error:
    datasets.load_text("ptb", str(tmp_path))
  assert str(error.value) == f"{path}{expected}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: pathlib.Path):
  with pytest.raises(InputError) as error:
    published.read_lines(tmp_path, 1)
  assert str(error.value) == f"{tmp_path} cannot be read (is a directory); correct that, such as its permissions."


def test_a_missing_split_is_named_with_its_source(tmp_path: pathlib.Path):
  path = _ptb_folder(tmp_path) / "ptb.test.txt"
  path.unlink()
  with pytest.raises(InputError) as error:
    datasets.load_text("ptb", str(tmp_path))
  assert str(error.value) == f"{path} is missing; get it from {ptb.SITE}/ptb.test.txt."
  with pytest.raises(FieldError, match=r"^data\.data_dir is .*nowhere; it holds no folder 'wikitext-2'"):
    datasets.load_text("wikitext2", str(tmp_path / "nowhere"))


@needs_data
def test_the_published_ptb(log: list[str]):
  words = datasets.load_text("ptb", DATA_DIR)
  assert (len(words.train), len(words.valid)) == (929_589, 73_760) and len(words.vocabulary) == 10_000
  assert len(base.open_test(words, "a test of the reader")) == 82_430
  assert words.unknown == {"train": 0, "valid": 0} and words.vocabulary.words[:3] == ("aer", "banknote", "berlitz")
  assert words.vocabulary.decode(words.valid[:6]) == "consumers may want to move their".split()
  characters = datasets.load_text("ptb", DATA_DIR, "character")
  assert (len(characters.train), len(characters.valid)) == (5_017_482, 393_042), "5,017k and 393k in T. Mikolov et al., 2012"
  assert len(base.open_test(characters, "a test of the reader")) == 442_423 and len(characters.vocabulary) == 50 + 1
  assert log == ["The test set of 'ptb' is opened: a test of the reader"] * 2, "no warning, no unknown word"


@needs_data
def test_the_published_ptb_has_the_checksums_of_its_downloads():
  folder = published.locate(ptb.PUBLISHED, DATA_DIR)
  for name, download in zip(ptb.PUBLISHED.files, ptb.PUBLISHED.downloads, strict=True):
    content = (folder / name).read_bytes()
    assert download.url.endswith(name) and len(content) == download.size
    assert hashlib.sha256(content).hexdigest() == download.sha256


@needs_data
@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_published_wikitext2(split: str, log: list[str]):
  lines = published.read_lines(pathlib.Path(DATA_DIR) / "wikitext-2" / f"wiki.{split}.tokens", wikitext2.TOKENS[split])
  tokens = list(text.tokens_of(lines, "word"))
  assert len(tokens) == {"valid": 217_646, "test": 245_569}[split] and not log
  assert tokens[0] == END and UNKNOWN in tokens
