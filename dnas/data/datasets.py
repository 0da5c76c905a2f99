"""All registered data sets: every module of this package is imported here, so a new data set is one new file."""

from dnas.core.paths import expanded
from dnas.core.registry import import_modules
from dnas.data import text
from dnas.data.base import DATASETS as DATASETS
from dnas.data.base import Config, ImageDataset, some_examples
from dnas.data.text import TEXTS as TEXTS
from dnas.data.text import TextDataset, first_tokens

import_modules("dnas.data")


def load(name: str, data_dir: str = "") -> ImageDataset:
  """Returns a data set by its registered name.

  Args:
    name: such as 'digits' or 'cifar10'.
    data_dir: the folder of its published files, or the folder around it; empty for a built-in data set, or to download them.

  Raises:
    InputError: for an unknown name (with the nearest known one), a folder that is not there or is given to a built-in data set, a
      missing or damaged file, or a failed download.
  """
  return DATASETS[name](_folder(data_dir))


def from_config(config: Config) -> ImageDataset:
  """Returns the data set of a configuration, cut to some examples if it says so.

  Raises:
    InputError: as `load` does, and for more examples than the data set has.
  """
  return some_examples(load(config.dataset, config.data_dir), config)


def load_text(name: str, data_dir: str = "", level: str = "word") -> TextDataset:
  """Returns a text by its registered name.

  Args:
    name: such as 'python_docs' or 'ptb'.
    data_dir: the folder of its published files, or the folder around it; empty for a built-in text, or to download them.
    level: what a token is, 'word' or 'character'.

  Raises:
    InputError: for an unknown name or level (with the nearest known one), a folder that is not there or is given to a built-in text, a
      missing, empty, binary or wrongly encoded file, or a failed download.
  """
  return TEXTS[name](_folder(data_dir), level)


def text_from_config(config: text.Config) -> TextDataset:
  """Returns the text of a configuration, cut to its first tokens if it says so. Raises InputError as `load_text` does."""
  return first_tokens(load_text(config.dataset, config.data_dir, config.level), config.tokens)


def _folder(data_dir: str) -> str:
  return str(expanded("--data.data_dir", data_dir)) if data_dir else ""
