"""A text of a user's own: one file, or a folder with a file for each part."""

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.data import datasets
from dnas.data.base import open_test
from dnas.data.text import Config

LINES = [f"line {number % 7} has a word {number % 3}" for number in range(100)]


def load(path, **settings):
  return datasets.text_from_config(Config(dataset="text_file", data_dir=str(path), **settings))


def back(dataset):
  """All lines, in the order train, valid, test."""
  ids = np.concatenate([dataset.train, dataset.valid, open_test(dataset, "a test")])
  return " ".join(dataset.vocabulary.decode(ids)).replace(" <eos>", "\n").replace("\n ", "\n").splitlines()


def test_one_file_is_divided_in_order(tmp_path):
  path = tmp_path / "anything.md"
  path.write_text("\n".join(LINES))
  dataset = load(path)
  assert back(dataset) == LINES
  assert [len(part) / 700 for part in (dataset.valid, open_test(dataset, "a test"))] == pytest.approx([0.1, 0.1], abs=0.011)
  assert len(load(path, valid_portion=0.3).valid) == pytest.approx(210, abs=8)
  assert load(path, level="character").vocabulary.words[:3] == ("l", "i", "n")


def test_the_files_of_a_folder_are_found_by_their_names(tmp_path):
  parts = {"wiki.train.tokens": LINES[:60], "wiki.val.tokens": LINES[60:80], "Test.txt": LINES[80:], "notes.txt": ["no part"]}
  for name, lines in parts.items():
    (tmp_path / name).write_text("\n".join(lines))
  dataset = load(tmp_path)
  assert back(dataset) == LINES and len(dataset.valid) == 20 * 7
  (tmp_path / "Test.txt").write_bytes(b"\xff")
  with pytest.raises(InputError, match="Test.txt is not UTF-8"):
    open_test(load(tmp_path), "a test")
  (tmp_path / "Test.txt").unlink()
  assert back(load(tmp_path)) == LINES[:54] + LINES[60:80] + LINES[54:60], "the test part comes from the end of the training file"


@pytest.mark.parametrize(
  ("files", "sentence"),
  [
    ({}, "it holds no file with 'train' in its name, such as train.txt; name one so."),
    ({"train.txt": "a b", "b.train": "c"}, "it holds two files for the train part, b.train and train.txt; leave one."),
    ({"train.txt": "one line\n"}, "its 1 lines are too few to divide off its parts, and its test part is empty; give more, or a file"),
    ({"train.txt": "\0"}, "train.txt is a binary file (it holds a zero byte); give plain text in UTF-8."),
  ],
)
def test_what_cannot_be_used_is_refused(tmp_path, files, sentence):
  for name, content in files.items():
    (tmp_path / name).write_text(content)
  with pytest.raises(InputError) as error:
    load(tmp_path)
  assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_portion_without_effect_is_refused(tmp_path):
  with pytest.raises(InputError, match="data.test_portion is 0.2; it does nothing with --data.dataset=ptb, so leave it out."):
    datasets.text_from_config(Config(dataset="ptb", test_portion=0.2))
  for part in ("train", "valid", "test"):
    (tmp_path / part).write_text("\n".join(LINES))
  with pytest.raises(InputError, match="valid_portion is 0.2; it does nothing where the data have a validation part of their own, so"):
    load(tmp_path, valid_portion=0.2)
