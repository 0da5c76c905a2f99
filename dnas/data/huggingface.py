"""A folder that `save_to_disk` of Hugging Face `datasets` wrote: one data set, or a dictionary of parts.

The types of its features tell the column of images from that of classes. `datasets` is an optional package.
"""

import importlib
import pathlib
from typing import Any

import numpy as np

from dnas.core import json_files
from dnas.core.errors import FieldError, InputError, first_line
from dnas.data.base import DATASETS
from dnas.data.decoding import Examples
from dnas.data.own_images import OwnImages, parts_among

_HINT = "give a folder that `save_to_disk` wrote"


def find(path: pathlib.Path) -> dict[str, str]:
  """See `OwnImages`."""
  if (path / "dataset_dict.json").is_file():
    return parts_among(json_files.read_object(path / "dataset_dict.json", _HINT, {"splits": list})["splits"])
  if (path / "state.json").is_file():
    return {"train": ""}
  raise FieldError("data.data_dir", str(path), f"it is no data set of Hugging Face on disk; {_HINT}")


def read(path: pathlib.Path, name: str) -> Examples:
  """See `OwnImages`.

  Raises:
    InputError: if `datasets` is missing, the folder cannot be read, an example has no class, or there is not exactly one column of images
      and one of classes with names.
  """
  try:
    datasets: Any = importlib.import_module("datasets")  # here, because it is optional and slow to import
  except ImportError as e:
    raise InputError(f"--data.dataset=hf needs the package datasets ({first_line(e)}); run pip install datasets.") from None
  try:
    table = datasets.load_from_disk(str(path / name))
  except Exception as e:  # a damaged folder can raise anything
    raise InputError(f"{path / name} cannot be read ({first_line(e).rstrip('.')}); {_HINT}.") from None
  column = {}
  for what, kind in (("images", datasets.Image), ("classes", datasets.ClassLabel)):
    found = [key for key, feature in table.features.items() if isinstance(feature, kind)]
    if len(found) != 1:
      listed = ", ".join(found or table.features) or "none"
      hint = f"it needs one column of {what} (a feature {kind.__name__}), and has {'several' if found else 'none'} among: {listed}"
      raise FieldError("data.data_dir", str(path), f"{hint}; remove_columns and cast_column of datasets correct that")
    column[what] = found[0]
  labels = np.array(table.select_columns([column["classes"]])[:][column["classes"]])
  if len(labels) == 0 or labels.dtype.kind != "i" or labels.min() < 0:
    raise FieldError("data.data_dir", str(path), f"its part '{name or 'train'}' has examples without a class; leave them out")
  names = tuple(table.features[column["classes"]].names)
  where = path / name
  return Examples(labels.astype(np.int32), names, lambda index: table[index][column["images"]], lambda index: f"{where}, example {index}")


DATASETS.register("hf")(OwnImages("hf", find, read))
