"""Images a second of the input alone: streams of dnas beside the loader of PyTorch, with the same decoding, on the same files.

  python -m benchmarks.streams --images=FOLDER
  python -m benchmarks.streams --made=400

Both decode JPEG files to 224x224 pixels by `data.decoding.Views` with the settings of recipes for ImageNet. So they differ in how processes
are fed, and how batches come back. Every loader is timed in turn, several times, after its first two batches. PyTorch is left out if it is
not installed.
"""

import argparse
import importlib.util
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import numpy as np
from PIL import Image

from dnas.data import base, datasets
from dnas.data.streams import Training, stream

WARM_UP = 2
"""Batches before the clock starts."""


def make_images(folder: pathlib.Path, count: int) -> None:
  """Writes smooth random photographs of 500x375 pixels in two classes."""
  rng = np.random.default_rng(0)
  for number in range(count):
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    path = folder / f"class_{number % 2}" / f"{number:05d}.jpg"
    path.parent.mkdir(exist_ok=True)
    coarse.save(path, quality=90)


class Examples:
  """The same examples for PyTorch: a map-style data set."""

  def __init__(self, source: Training):
    self._count, self._pickled, self._source = len(source.labels), cloudpickle.dumps(source), None

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    """Returns a decoded image, and its label."""
    if self._source is None:  # in a process of the loader
      self._source = cloudpickle.loads(self._pickled)
    example = self._source[index]
    return np.array(example["images"]), int(example["labels"])


def of_pytorch(source: Training, workers: int) -> Iterator[Any]:
  """Yields batches of PyTorch's loader, epoch after epoch."""
  import torch.utils.data

  settings = {"batch_size": source.batch_size, "shuffle": True, "num_workers": workers, "drop_last": True}
  if workers:  # a fork beside the threads of JAX may lock up
    settings |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
  loader = torch.utils.data.DataLoader(Examples(source), **settings)
  yield from itertools.chain.from_iterable(itertools.repeat(loader))


def rate(batches: Iterator[Any], size: int, count: int) -> float:
  """Returns images a second over `count` batches."""
  for _ in range(WARM_UP):
    next(batches)
  began = time.monotonic()
  for _ in range(count):
    next(batches)
  return size * count / (time.monotonic() - began)


def main() -> None:
  """Prints a table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", default="", help="folder with a subfolder of images for every class")
  parser.add_argument("--made", type=int, default=400, help="number of images to make where no folder is given")
  parser.add_argument("--batch_size", type=int, default=32)
  parser.add_argument("--batches", type=int, default=20, help="batches that are timed, of every loader in every repetition")
  parser.add_argument("--repetitions", type=int, default=3)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as made:
    if not given.images:
      make_images(pathlib.Path(made), given.made)
    config = base.Config(
      dataset="images", data_dir=given.images or made, image_size=(224,), stream=True, crop_area=0.08, colour_jitter=True, test_portion=0.05
    )
    train = datasets.from_config(config).train
    source = Training(train.images, train.labels, given.batch_size, 0)
    loaders: dict[tuple[str, int], Callable[[], Iterator[Any]]] = {}
    for workers in (0, 1, 2):
      loaders["dnas (Grain)", workers] = lambda workers=workers: stream(source, workers)
      if importlib.util.find_spec("torch"):
        loaders["PyTorch", workers] = lambda workers=workers: of_pytorch(source, workers)
    rates: dict[tuple[str, int], list[float]] = {name: [] for name in loaders}
    for _ in range(given.repetitions):
      for name, make in loaders.items():
        batches = make()
        rates[name].append(rate(batches, given.batch_size, given.batches))
        batches.close()  # type: ignore[attr-defined]
  print("| loader | processes | images a second, median | lowest | highest |\n|---|---|---|---|---|")
  for (loader, workers), found in rates.items():
    print(f"| {loader} | {workers or 'this one'} | {statistics.median(found):.0f} | {min(found):.0f} | {max(found):.0f} |")


if __name__ == "__main__":
  main()
