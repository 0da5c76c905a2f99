"""Configuration, the split of a search, reading the test set, and a battery over every registered data set."""

import dataclasses
import pathlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import dnas.data
from dnas.core import config
from dnas.core.errors import FieldError, InputError
from dnas.data import base, datasets, splits

BUILT_IN = ("digits", "synthetic")


def _numbered(count: int) -> base.ImageDataset:
  split = base.Split(np.zeros((count, 1, 1, 1), np.uint8), np.arange(count, dtype=np.int32))
  names = tuple("abcdefghij"[:count])
  return base.ImageDataset("numbered", split, count, (0.0,), (1.0,), names, published=True, _read_test=lambda: split)


@pytest.mark.parametrize(("portion", "expected"), [(0.5, 5), (0.59, 5), (0.1, 1), (0.9, 9)])
def test_the_split_is_contiguous_and_loses_nothing(portion: float, expected: int):
  train, valid = base.search_split(_numbered(10), base.Config(train_portion=portion))
  assert train.labels.tolist() == list(range(expected))
  assert valid.labels.tolist() == list(range(expected, 10))
  assert len(train) == len(train.images) and len(valid) == len(valid.images)


@pytest.mark.parametrize("portion", [0.05, 1.0])
def test_a_split_with_an_empty_part_is_refused(portion: float):
  with pytest.raises(FieldError, match=r"^data\.train_portion is .*; it leaves one part of the 10 examples .*\.$"):
    base.search_split(_numbered(10), base.Config(train_portion=portion))


def test_the_test_set_is_read_by_one_function_alone_and_logged(monkeypatch: pytest.MonkeyPatch):
  reads, lines = [], []
  monkeypatch.setattr(base.logging, "info", lambda text, *values, **_: lines.append(text % values))
  split = _numbered(4).train
  dataset = dataclasses.replace(_numbered(4), _read_test=lambda: reads.append(1) or split)
  base.search_split(dataset, base.Config())
  assert not reads and "_read_test" not in repr(dataset)
  assert base.open_test(dataset, "the final training") is split
  assert len(reads) == 1 and lines == ["The test set of 'numbered' is opened: the final training"]


def test_nothing_else_in_the_package_opens_the_test_set():
  for path in pathlib.Path(dnas.data.__path__[0]).glob("*.py"):
    text = path.read_text()
    assert "._read_test" not in text or path.name == "base.py"


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(dnas.data.__path__)])
def test_every_module_is_imported_by_datasets(module: str):
  assert f"dnas.data.{module}" in sys.modules


def test_load_works_in_a_fresh_process_and_imports_no_slow_library_early():
  code = (
    "import sys; from dnas.data.datasets import load; slow = {'sklearn', 'tensorflow_datasets'} & set(sys.modules); "
    "print(sorted(slow), len(load('synthetic', '').train))"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[] 512"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_dataset_conforms(name: str):
  dataset, again = datasets.load(name, ""), datasets.load(name, "")
  test = base.open_test(dataset, "its conformance")
  np.testing.assert_array_equal(dataset.train.images, again.train.images)
  np.testing.assert_array_equal(test.images, base.open_test(again, "its conformance").images)
  for split in (dataset.train, test):
    assert split.images.dtype == np.uint8 and split.images.ndim == 4 and split.images.shape[1:] == dataset.train.images.shape[1:]
    assert split.labels.dtype == np.int32 and split.labels.shape == (len(split),)
    counts = np.bincount(split.labels, minlength=dataset.num_classes)
    assert len(counts) == dataset.num_classes and counts.min() > 0.8 * counts.mean(), "a class is rare"
  assert dataset.name == name and len(set(dataset.class_names)) == dataset.num_classes
  pixels = dataset.train.images.astype(np.float64) / 255
  np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(dataset.std, np.sqrt((pixels**2).mean((0, 1, 2)) - pixels.mean((0, 1, 2)) ** 2), rtol=1e-6)
  for name in splits.SPLITS:
    for part in base.search_split(dataset, base.Config(split=name)):
      assert set(part.labels.tolist()) == set(range(dataset.num_classes))


@pytest.mark.parametrize("name", BUILT_IN)
def test_train_and_test_share_no_image(name: str):
  dataset = datasets.load(name, "")
  train = {image.tobytes() for image in dataset.train.images}
  assert not train & {image.tobytes() for image in base.open_test(dataset, "a test of it").images}


def test_digits_are_the_scaled_pixels_of_scikit_learn():
  from sklearn.datasets import load_digits

  dataset, bunch = datasets.load("digits", ""), load_digits()
  scaled = np.round(bunch.data.reshape(-1, 8, 8)[..., None] * (255 / 16)).astype(np.uint8)  # to the same bits
  np.testing.assert_array_equal(np.concatenate([dataset.train.images, base.open_test(dataset, "a test of it").images]), scaled)
  np.testing.assert_array_equal(np.concatenate([dataset.train.labels, base.open_test(dataset, "a test of it").labels]), bunch.target)
  assert dataset.train.images.shape == (1500, 8, 8, 1) and len(base.open_test(dataset, "a test of it")) == 297
  np.testing.assert_allclose(dataset.train.images[..., 0] / 255 * 16, bunch.images[:1500], atol=0.04)
  assert (dataset.train.images.min(), dataset.train.images.max()) == (0, 255)


def test_the_synthetic_classes_are_separable():
  dataset = datasets.load("synthetic", "")
  train, test = dataset.train, base.open_test(dataset, "a test of it")
  centres = np.stack([train.images[train.labels == label].mean(0) for label in range(4)])
  distances = ((test.images[:, None].astype(float) - centres[None]) ** 2).sum((2, 3, 4))
  assert (distances.argmin(1) == test.labels).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_folder_for_a_built_in_dataset_is_refused(name: str):
  with pytest.raises(FieldError) as error:
    datasets.load(name, "/data")
  assert str(error.value) == f"data.data_dir is /data; the data set '{name}' is built in and reads no folder, so leave it empty."


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
  with pytest.raises(InputError, match="unknown dataset 'cifar_10'. Did you mean 'cifar10'?"):
    datasets.load("cifar_10", "")


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("train_portion", 0.0),
    ("train_portion", 1.5),
    ("examples", -1),
    ("split_seed", -1),
    ("batch_size", 0),
    ("eval_batch_size", -1),
    ("crop_padding", -1),
    ("random_erasing", -0.5),
    ("random_erasing", 1.5),
    ("cutout_length", -2),
    ("cutout_length", 3),
  ],
)
def test_a_bad_configuration_names_its_field(field: str, value: float):
  with pytest.raises(FieldError, match=rf"^{field} is {value}; it must be .*\.$"):
    base.Config(**{field: value})


def test_a_border_that_no_crop_sees_is_refused():
  with pytest.raises(FieldError, match="crop_reflect is True; it does nothing without --data.crop_padding, so leave it out"):
    base.Config(crop_padding=0, crop_reflect=True)


def test_every_field_of_the_configuration_has_a_help_text():
  assert all(config.help_texts(base.Config).values())
