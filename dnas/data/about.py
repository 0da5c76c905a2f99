"""What a trained classifier must know of the images that trained it."""

import dataclasses
import json
from typing import Any

import numpy as np

from dnas.core.errors import InputError, shown
from dnas.data.base import ImageDataset


@dataclasses.dataclass(frozen=True)
class About:
  """Shape and statistics of the images, and names of the classes. A run folder keeps them, so that a network does not need its data.

  Attributes:
    image_shape: (H, W, C).
    class_names: one name per class.
    mean: mean of every channel, of pixels scaled to [0, 1], rounded to float32.
    std: standard deviation of every channel, as `mean`.
  """

  image_shape: tuple[int, int, int]
  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  @property
  def num_classes(self) -> int:
    """How many classes there are."""
    return len(self.class_names)

  @classmethod
  def of(cls, dataset: ImageDataset) -> "About":
    """Returns what a classifier must know of a data set."""
    height, width, channels = dataset.train.images.shape[1:]
    mean, std = (tuple(float(np.float32(value)) for value in values) for values in (dataset.mean, dataset.std))
    return cls((height, width, channels), dataset.class_names, mean, std)

  def to_json(self) -> str:
    """Returns the text that `from_values` reads once it is parsed."""
    return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

  @classmethod
  def from_values(cls, values: dict[str, Any], where: str) -> "About":
    """Returns what `to_json` wrote, parsed. `where` names the file. Raises InputError for anything else."""
    given: list[Any] = [values.get(field.name) for field in dataclasses.fields(cls)]
    shape, names, mean, std = given
    fits = _all(shape, int, 3) and _all(names, str, 0) and len(names) > 1 and _all(mean, float, shape[2]) and _all(std, float, shape[2])
    if not fits or min(shape) < 1 or min(std) <= 0:
      raise InputError(f"{where} holds {shown(values)}; give the file that the launcher wrote.")
    return cls((shape[0], shape[1], shape[2]), tuple(names), tuple(mean), tuple(std))


def _all(values: Any, kind: type, number: int) -> bool:
  """Returns whether values are a list of one type, of so many, or of any number if that is 0."""
  return isinstance(values, list) and all(type(value) is kind for value in values) and len(values) == (number or len(values))
