"""A data set that tensorflow-datasets prepared in a format with random access (array_record); TensorFlow is not needed to read it."""

import pathlib
from typing import Any

import numpy as np

from dnas.core import json_files
from dnas.core.errors import FieldError, InputError, first_line
from dnas.core.extras import needed_by
from dnas.data.base import DATASETS
from dnas.data.decoding import Examples
from dnas.data.own_images import OwnImages, parts_among

_INFO = "dataset_info.json"


def find(path: pathlib.Path) -> dict[str, str]:
  """See `OwnImages`."""
  info = json_files.read_object(_root(path) / _INFO, "prepare the data set again", {"splits": list})
  return parts_among([split.get("name", "") for split in info["splits"] if isinstance(split, dict)])


def read(path: pathlib.Path, name: str) -> Examples:
  """See `OwnImages`. Raises InputError unless one feature is an image and one a class, or if the format has no random access."""
  with needed_by("--data.dataset=tfds"):
    import tensorflow_datasets as tfds  # here, because it is slow to import
  root = _root(path)
  try:
    builder: Any = tfds.builder_from_directory(root)
    features = dict(builder.info.features.items())
    kinds = ("image", tfds.features.Image), ("class", tfds.features.ClassLabel)
    column = {what: _only(path, what, [key for key, one in features.items() if isinstance(one, kind)]) for what, kind in kinds}
    images = builder.as_data_source(split=name)
    classes = builder.as_data_source(split=name, decoders={column["image"]: tfds.decode.SkipDecoding()})
    labels = np.array([classes[index][column["class"]] for index in range(len(classes))])
  except InputError:
    raise
  except Exception as e:  # of tensorflow-datasets and array_record
    hint = "prepare it in the format array_record, by tfds build --file_format=array_record"
    raise InputError(f"{root} cannot be read ({first_line(e).rstrip('.')}); {hint}.") from None
  if len(labels) == 0 or labels.min() < 0:
    raise FieldError("data.data_dir", str(path), f"its part '{name}' has examples without a class")
  names = tuple(features[column["class"]].names)

  def image(index: int) -> np.ndarray:
    return np.asarray(images[index][column["image"]])

  return Examples(labels.astype(np.int32), names, image, lambda index: f"{root}, example {index} of {name}")


def _only(path: pathlib.Path, what: str, found: list[str]) -> str:
  if len(found) != 1:
    listed = f"several, {', '.join(found)}" if found else "none"
    raise FieldError("data.data_dir", str(path), f"it needs one feature that is the {what}, and has {listed}; give another set")
  return found[0]


def _root(path: pathlib.Path) -> pathlib.Path:
  """Returns the folder of a prepared version: the one given, or the only one in it, with or without a folder of a configuration."""
  below = [each.parent for depth in ("*", "*/*", "*/*/*") for each in path.glob(f"{depth}/{_INFO}")]
  found = [path] if (path / _INFO).is_file() else sorted(below)
  if len(found) == 1:
    return found[0]
  told = f"it holds several prepared sets, {found[0]} and {found[1]}; give one of them" if found else f"it holds no {_INFO}"
  raise FieldError("data.data_dir", str(path), told if found else f"{told}; give the folder of a prepared set, such as mnist/3.0.1")


DATASETS.register("tfds")(OwnImages("tfds", find, read))
