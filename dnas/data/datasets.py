"""All registered data sets: every module of this package is imported here, so a new data set is one new file."""

from dnas.core.errors import FieldError
from dnas.core.paths import expanded
from dnas.core.registry import import_modules
from dnas.data import text
from dnas.data.base import DATASETS as DATASETS
from dnas.data.base import Config, ImageDataset, some_examples
from dnas.data.own_images import OwnImages
from dnas.data.text import TEXTS as TEXTS
from dnas.data.text import TextDataset, first_tokens
from dnas.data.text_file import OwnText

import_modules("dnas.data")


def load(name: str, data_dir: str = "") -> ImageDataset:
  """Returns a data set by its registered name.

  Args:
    name: such as 'digits' or 'cifar10'.
    data_dir: the folder of its published files, or the folder around it; empty for a built-in data set, or to download them. For files of
      a user's own, their path.

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
  _refuse_unused(config, OF_OWN_IMAGES)
  loader, folder = DATASETS[config.dataset], _folder(config.data_dir)
  return some_examples(loader(folder, config) if isinstance(loader, OwnImages) else loader(folder), config)


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
  _refuse_unused(config, OF_OWN_TEXT)
  loader, folder = TEXTS[config.dataset], _folder(config.data_dir)
  own = isinstance(loader, OwnText)
  return first_tokens(loader(folder, config.level, config) if own else loader(folder, config.level), config.tokens)


OF_OWN_IMAGES = ("image_size", "centre_crop", "stream", "stream_workers", "crop_area", "colour_jitter", "test_portion", "test_seed")
OF_OWN_TEXT = ("valid_portion", "test_portion")
"""Fields that only data sets of a user's own files use."""


def unused(config: Config | text.Config, field: str) -> str:
  """Returns when a field has no effect, if that is so with this data set: 'with --data.dataset=digits'; else an empty text.

  Raises:
    InputError: if the files of a user's own that decide it cannot be read.
  """
  of_text = isinstance(config, text.Config)
  loader = (TEXTS if of_text else DATASETS)[config.dataset]
  if isinstance(config, Config) and field == "stream_workers" and not config.stream:
    return "without --data.stream"
  if not isinstance(loader, OwnImages | OwnText):
    return f"with --data.dataset={config.dataset}" if field in (OF_OWN_TEXT if of_text else OF_OWN_IMAGES) else ""
  divides = {"valid_portion": "valid", "test_portion": "test", "test_seed": "test", "train_portion": "valid"}
  if not of_text and not config.examples:  # else they choose the examples
    divides |= {"split": "valid", "split_seed": "valid"}
  part = divides.get(field)
  given = part and part in loader.parts(_folder(config.data_dir))
  return f"where the data have a {'validation' if part == 'valid' else 'test'} part of their own" if given else ""


def validates_itself(config: Config) -> bool:
  """Returns whether the data are files of a user's own with a validation part. Raises InputError as `unused` does."""
  return bool(unused(config, "train_portion"))


def _refuse_unused(config: Config | text.Config, fields: tuple[str, ...]) -> None:
  for field in fields:
    if getattr(config, field) != getattr(type(config)(), field) and (when := unused(config, field)):
      raise FieldError(f"data.{field}", getattr(config, field), f"it does nothing {when}, so leave it out")


def _folder(data_dir: str) -> str:
  return str(expanded("--data.data_dir", data_dir)) if data_dir else ""
