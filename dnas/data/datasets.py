"""All registered data sets: every module of this package is imported here, so a new data set is one new file."""

import importlib
import pkgutil

import dnas.data
from dnas.data.base import DATASETS, Config, ImageDataset, first_examples

for _module in pkgutil.iter_modules(dnas.data.__path__):
  importlib.import_module(f"{dnas.data.__name__}.{_module.name}")


def load(name: str, data_dir: str = "") -> ImageDataset:
  """Returns a data set by its registered name.

  Args:
    name: such as 'digits' or 'cifar10'.
    data_dir: the folder of its published files, or the folder around it; empty for a built-in data set, or to download them.

  Raises:
    InputError: for an unknown name (with the nearest known one), a folder that is not there or is given to a built-in data set, a
      missing or damaged file, or a failed download.
  """
  return DATASETS[name](data_dir)


def from_config(config: Config) -> ImageDataset:
  """Returns the data set of a configuration, cut to its first examples if it says so. Raises InputError as `load` does."""
  return first_examples(load(config.dataset, config.data_dir), config.examples)
