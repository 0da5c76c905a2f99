"""The training images of CIFAR-10 in two files: an exact round trip, and what is missing or damaged. The images here are few and random."""

import pathlib

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.data import base, cifar10_packed, datasets

COUNT = 1101  # the halves fill no whole number of rows, and differ


@pytest.fixture
def packed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> tuple[pathlib.Path, np.ndarray, np.ndarray]:
  """A folder with packed images, the images and their labels."""
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, (COUNT, 32, 32, 3), np.uint8), rng.integers(0, 10, COUNT)
  halves = np.array_split(np.arange(COUNT), 2)
  monkeypatch.setattr(cifar10_packed, "DIGESTS", tuple(cifar10_packed._digest(images[half], labels[half]) for half in halves))
  paths = cifar10_packed.write(images, labels, tmp_path / "packed")
  assert [path.name for path in paths] == list(cifar10_packed.FILES)
  return tmp_path / "packed", images, labels


def test_the_ordinary_loader_reads_them_exactly_and_needs_no_test_split(packed):
  folder, images, labels = packed
  dataset = datasets.load("cifar10", str(folder))
  np.testing.assert_array_equal(dataset.train.images, images)
  np.testing.assert_array_equal(dataset.train.labels, labels)
  assert dataset.published and dataset.train.images.dtype == np.uint8
  with pytest.raises(InputError) as error:
    base.open_test(dataset, "a test of its lack")
  assert str(error.value) == (
    f"The test split is needed now, and {folder} holds the packed training images of CIFAR-10 alone; put test_batch of "
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there and give the same command again."
  )


def test_other_images_are_not_packed(packed, tmp_path):
  _, images, labels = packed
  with pytest.raises(InputError, match="1,?101 images to pack are not the published training images"):
    cifar10_packed.write(images[::-1], labels, tmp_path / "others")
  assert not list((tmp_path / "others").iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "empty"])
def test_a_damaged_file_is_named(packed, damage):
  folder, *_ = packed
  first, second = (folder / name for name in cifar10_packed.FILES)
  content = bytearray(second.read_bytes())
  if damage == "flip":
    content[len(content) // 2] ^= 1
  contents = {"flip": content, "cut": content[:-1000], "swap": first.read_bytes(), "empty": b""}
  second.write_bytes(contents[damage])
  with pytest.raises(InputError) as error:
    datasets.load("cifar10", str(folder))
  assert str(error.value) == f"{second} is damaged: its images and labels are not those that were published; bring it again."


def test_a_missing_file_is_named(packed):
  folder, *_ = packed
  (folder / cifar10_packed.FILES[0]).unlink()
  with pytest.raises(InputError, match=r"cifar10_train_1_of_2\.npz is missing, and the other file is there; bring both"):
    datasets.load("cifar10", str(folder))
