"""A text of a user's own: one file, or a folder with a file for each part, found by its name, such as wiki.train.tokens.

A part without a file is divided off the end of the training file, at an end of a line: training, then validation, then test.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from dnas.core.errors import FieldError, InputError, unreadable
from dnas.data import text
from dnas.data.own_images import NAMES
from dnas.data.published import read_lines

SMALLEST_COUNT = 2
"""Words (or characters) that occur once in the training text are UNKNOWN, so that a model learns what UNKNOWN is."""


@dataclasses.dataclass(frozen=True)
class OwnText:
  """A registered text that is a file or a folder of a user.

  Attributes:
    name: the name under which it is registered.
  """

  name: str

  def parts(self, data_dir: str) -> Mapping[str, pathlib.Path]:
    """Returns part to file, for every part that has one; one file is the training part.

    Raises:
      InputError: if there is no such file, or a folder has no training file or two files for a part.
    """
    if not data_dir:
      raise FieldError("data.data_dir", "empty", f"the text '{self.name}' is a file of your own, so give its path")
    try:
      path = pathlib.Path(data_dir)
      if path.is_file():
        return {"train": path}
      if not path.is_dir():
        raise FieldError("data.data_dir", data_dir, "there is no such file or folder; give a text in UTF-8, or a folder with its parts")
      files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
    except (OSError, ValueError) as e:  # a path that no file can have is a ValueError
      if isinstance(e, InputError):
        raise
      raise unreadable(data_dir, e) from None
    parts: dict[str, pathlib.Path] = {}
    for part, names in NAMES.items():
      found = [file for file in files if set(re.split(r"[^a-z0-9]+", file.name.lower())) & {*names}]
      if len(found) > 1:
        two = f"{found[0].name} and {found[1].name}"
        raise FieldError("data.data_dir", data_dir, f"it holds two files for the {part} part, {two}; leave one")
      if found:
        parts[part] = found[0]
    if "train" not in parts:
      raise FieldError("data.data_dir", data_dir, "it holds no file with 'train' in its name, such as train.txt; name one so")
    return parts

  def __call__(self, data_dir: str, level: str, config: text.Config = text.Config()) -> text.TextDataset:  # noqa: B008  (frozen)
    """Reads the training and the validation text; the test text becomes tokens when the test set is opened.

    Raises:
      InputError: as `parts` does, for a file that is no text, or one with too few lines to divide.
    """
    parts = self.parts(data_dir)

    def read(part: str) -> list[str]:
      if part != "train" and part in parts:
        return read_lines(parts[part])
      return _divided(parts, config)[part]

    return text.from_lines(self.name, level, read, SMALLEST_COUNT)


def _divided(parts: Mapping[str, pathlib.Path], config: text.Config) -> dict[str, list[str]]:
  """Returns the lines of the parts that the training file holds. Raises FieldError if one of them has no words."""
  lines = read_lines(parts["train"])
  portions = {"valid": config.valid_portion, "test": config.test_portion}
  portions = {part: portion for part, portion in portions.items() if part not in parts}
  words = np.cumsum([0, *(len(line) + 1 for line in lines)])  # before every line, ends of lines included
  out, last = {}, len(lines)
  for part, portion in reversed(portions.items()):
    first = int(np.abs(words[: last + 1] - (words[last] - portion * words[-1])).argmin())
    out[part], last = lines[first:last], first
  out["train"] = lines[:last]
  for part, own in out.items():
    if not any(own):
      hint = f"its {len(lines)} lines are too few to divide off its parts, and its {part} part is empty; give more, or a file for each part"
      raise FieldError("data.data_dir", str(parts["train"]), hint)
  return out


text.TEXTS.register("text_file")(OwnText("text_file"))
