"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32x32x3 pixels.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; https://www.cs.toronto.edu/~kriz/cifar.html. The
mean and the standard deviation of CIFAR-10 are those of the published DARTS code.
"""

import io
import pathlib
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnas.core.errors import InputError
from dnas.data import cifar10_packed
from dnas.data.base import DATASETS, ImageDataset, Split
from dnas.data.download import Download
from dnas.data.published import Published, damaged, locate, read_bytes

SITE = "https://www.cs.toronto.edu/~kriz"

CIFAR10 = Published(
  "cifar-10-batches-py",
  (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
  (Download(f"{SITE}/cifar-10-python.tar.gz", 170498071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),),
)
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"

CIFAR100 = Published(
  "cifar-100-python",
  ("train", "test"),
  (Download(f"{SITE}/cifar-100-python.tar.gz", 169001437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),),
)
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house
kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew
skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@DATASETS.register("cifar10")
def cifar10(data_dir: str) -> ImageDataset:
  """Loads CIFAR-10 in the published order.

  Args:
    data_dir: the folder 'cifar-10-batches-py' or the one around it; empty to download it. The folder may instead hold the two files of
      `cifar10_packed`. The test split is then read from the published file 'test_batch', if it is there when the test begins.
  """
  mean, std = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
  classes, packed = CIFAR10_CLASSES.split(), pathlib.Path(data_dir)
  if not (data_dir and cifar10_packed.is_in(packed)):
    return _load("cifar10", CIFAR10, data_dir, classes, "labels", mean, std)
  train = Split(*cifar10_packed.read(packed))
  return ImageDataset("cifar10", train, len(classes), mean, std, tuple(classes), published=True, _read_test=lambda: _test_beside(packed))


@DATASETS.register("cifar100")
def cifar100(data_dir: str) -> ImageDataset:
  """Loads CIFAR-100, with its 100 fine labels, in the published order.

  Args:
    data_dir: the folder 'cifar-100-python' or the one around it; empty to download it.
  """
  mean, std = (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)
  return _load("cifar100", CIFAR100, data_dir, CIFAR100_CLASSES.split(), "fine_labels", mean, std)


def _test_beside(packed: pathlib.Path) -> Split:
  """Returns the test split of CIFAR-10 from a folder with packed training images. Raises InputError if it is not there."""
  name = CIFAR10.files[-1]
  for path in (packed / name, packed / CIFAR10.folder / name):
    if path.is_file():
      return Split(*_read_batch(path, "labels", len(CIFAR10_CLASSES.split()), CIFAR10))
  what = f"The test split is needed now, and {packed} holds the packed training images of CIFAR-10 alone"
  raise InputError(f"{what}; put {name} of {CIFAR10.source(name)} there and give the same command again.")


def _load(
  name: str, published: Published, data_dir: str, classes: Sequence[str], labels_key: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> ImageDataset:
  folder = locate(published, data_dir)

  def read(files: tuple[str, ...]) -> Split:
    batches = [_read_batch(folder / file, labels_key, len(classes), published) for file in files]
    return Split(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))

  train, test = published.files[:-1], published.files[-1:]
  return ImageDataset(name, read(train), len(classes), mean, std, tuple(classes), published=True, _read_test=lambda: read(test))


def _read_batch(path: pathlib.Path, labels_key: str, num_classes: int, published: Published) -> tuple[np.ndarray, np.ndarray]:
  """Returns images uint8 [N, 32, 32, 3] and labels int32 [N] of one file. Raises InputError if it is damaged."""
  content = io.BytesIO(read_bytes(path))
  try:
    batch = _DataUnpickler(content, encoding="bytes").load()
    data, labels = batch[b"data"], np.array(batch[labels_key.encode()], np.int32)
  except Exception as e:  # a damaged pickle can raise anything
    raise damaged(path, f"{type(e).__name__}: {e}", published) from None
  if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072 or labels.shape != data.shape[:1] or not len(labels):
    raise damaged(path, f"images of shape {np.shape(data)} with labels of shape {labels.shape}, not (N, 3072) with (N,)", published)
  if labels.min() < 0 or labels.max() >= num_classes:
    raise damaged(path, f"labels from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}", published)
  return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


class _DataUnpickler(pickle.Unpickler):
  """Reads arrays of uint8 and the built-in containers. A pickle is a program, and these files are not ours: nothing else may run."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
      return _reconstruct
    if (module, name) == ("numpy", "ndarray"):
      return np.ndarray
    if (module, name) == ("numpy", "dtype"):
      return _uint8
    raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _reconstruct(*_: Any) -> np.ndarray:
  """Returns the empty array that a pickle then fills."""
  return np.empty(0, np.uint8)


def _uint8(spec: Any, *_: Any) -> np.dtype:
  """Returns uint8, and refuses every other element type, of which some hold objects."""
  if np.dtype(spec) != np.uint8:
    raise pickle.UnpicklingError(f"it holds numbers of type {spec}")
  return np.dtype(np.uint8)
