"""Images that are decoded when a batch needs them: every batch is a function of seed and step, whatever decodes it."""

import numpy as np
import pytest
from own_files import write_images
from PIL import Image

from dnas.core.errors import InputError
from dnas.data import base, datasets, decoding
from dnas.data.streams import StreamedImages, Training, Whole, stream

COUNTS = {"cat": 14, "dog": 9}
SETTINGS = {"dataset": "images", "image_size": (8,), "stream": True, "crop_area": 0.3, "colour_jitter": True, "test_portion": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = write_images(tmp_path_factory.mktemp("streamed"), COUNTS, size=(12, 20))
  Image.fromarray(np.full((9, 7), 100, np.uint8)).save(folder / "dog" / "grey.png")
  return folder


@pytest.fixture(scope="module")
def dataset(folder):
  return datasets.from_config(base.Config(data_dir=str(folder), **SETTINGS))


def taken(source, workers, first, count):
  batches = stream(source, workers, first)
  out = [tuple(np.array(array) for array in next(batches)) for _ in range(count)]
  batches.close()
  return out


def same(one, other):
  assert all((a == b).all() for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)) and len(one) == len(other)


def test_nothing_is_decoded_at_the_start(dataset):
  images = dataset.train.images
  assert isinstance(images, StreamedImages) and images.shape == (22, 8, 8, 3) and images.nbytes == 0 and len(dataset.train) == 22
  first, rest = base.search_split(dataset, base.Config())
  assert len(first) + len(rest) == 22 and isinstance(first.images, StreamedImages)
  assert not set(first.images.numbers.tolist()) & set(rest.images.numbers.tolist())
  assert len(base.open_test(dataset, "a test")) == 2


def test_an_epoch_visits_every_example_and_fills_up_with_its_first(dataset):
  source = Training(dataset.train.images, np.arange(22, dtype=np.int32), 5, seed=3)
  labels = [label.tolist() for _, label in taken(source, 0, 0, 10)]
  for epoch in (labels[:5], labels[5:]):
    seen = sum(epoch, [])
    assert sorted(seen[:22]) == list(range(22)) and seen[22:] == seen[:3]
  assert labels[:5] != labels[5:]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stream_that_begins_later_gives_the_same_batches(dataset, workers):
  source = Training(dataset.train.images, dataset.train.labels, 5, seed=3)
  whole = taken(source, 0, 0, 7)
  same(taken(source, workers, 4, 3), whole[4:])
  views = [source[position]["images"] for position in range(2 * 5)]
  assert all((image == view).all() for image, view in zip(np.concatenate([images for images, _ in whole[:2]]), views, strict=True))


def test_a_validation_is_in_order_without_augmentation(dataset):
  source = Whole(dataset.train.images, dataset.train.labels, 8)
  (*_, (images, labels)) = found = list(stream(source, 0))
  assert [len(batch) for batch, _ in found] == [8, 8, 8] and (labels[-2:] == dataset.train.labels[:2]).all()
  plain = base.Config(data_dir="", dataset="images", image_size=(8,))
  assert plain.centre_crop == 0 and (images[-2:] == np.stack([dataset.train.images.plain(index) for index in range(2)])).all()


def test_streamed_and_stored_images_are_the_same(folder, dataset):
  stored = datasets.from_config(base.Config(dataset="images", data_dir=str(folder), image_size=(8,), test_portion=0.1))
  streamed = np.stack([dataset.train.images.plain(index) for index in range(22)])
  assert (streamed == stored.train.images).all() and (dataset.train.labels == stored.train.labels).all()
  assert dataset.mean == stored.mean and dataset.std == stored.std
  whole = base.open_test(stored, "a test")
  assert (base.open_test(dataset, "a test").images.plain(1) == whole.images[1]).all()


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
  folder = write_images(tmp_path, {"a": 4, "b": 4})
  config = base.Config(data_dir=str(folder), **(SETTINGS | {"test_portion": 0.25}))
  dataset = datasets.from_config(config)
  for number in dataset.train.images.numbers.tolist():
    path = dataset.train.images.examples.name(number)
    with open(path, "r+b") as file:
      file.truncate(60)
  for workers in (0, 1):
    with pytest.raises(InputError, match=r"\.png cannot be decoded as an image .*; replace it, or take it away\.$"):
      taken(Training(dataset.train.images, dataset.train.labels, 2, seed=0), workers, 0, 1)


def test_random_boxes():
  rng, areas = np.random.default_rng(0), []
  for _ in range(500):
    left, top, right, bottom = decoding.random_box((60, 40), 0.2, rng)
    assert 0 <= left < right <= 60 and 0 <= top < bottom <= 40
    areas.append((right - left) * (bottom - top) / 2400)
    assert 0.7 < (right - left) / (bottom - top) < 1.4
  assert 0.18 < min(areas) < 0.25 and max(areas) > 0.8
  assert decoding.random_box((100, 2), 1.0, rng) == (pytest.approx(50 - 4 / 3), 0, pytest.approx(50 + 4 / 3), 2)


def test_a_centre_crop_is_the_central_square():
  image = np.zeros((8, 12, 1), np.uint8)
  image[2:6, 4:8] = 200
  examples = decoding.Examples(np.zeros(1, int), ("a",), lambda index: image, str)
  assert (decoding.Views((4, 4), centre_crop=0.5).plain(examples, 0) == 200).all()


def test_jitter_changes_colours_within_bounds():
  rng, grey = np.random.default_rng(0), np.full((4, 4, 3), 100, np.uint8)
  changed = np.stack([decoding.jittered(grey, rng) for _ in range(200)])
  assert len({image.tobytes() for image in changed}) > 50 and changed.min() >= 59 and changed.max() <= 141
  red = np.zeros((4, 4, 3), np.uint8)
  red[..., 0] = 200
  hues = {int(decoding.jittered(red, rng)[0, 0].argmax()) for _ in range(100)}
  assert hues <= {0, 1, 2} and 0 in hues


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"stream": True}, "stream is True; it needs their height and width; give --data.image_size"),
    ({"crop_area": 0.08}, "crop_area is 0.08; it does nothing without --data.stream"),
    ({"colour_jitter": True}, "colour_jitter is True; it does nothing without --data.stream"),
    ({"centre_crop": 0.875}, "centre_crop is 0.875; it resizes the central square; give --data.image_size"),
    ({"centre_crop": 1.5, "image_size": (8,)}, "centre_crop is 1.5; it must be 0 to 1"),
    ({"stream_workers": -1}, "stream_workers is -1; it must be zero or more"),
  ],
)
def test_settings_that_do_not_fit(fields, message):
  with pytest.raises(InputError, match=message):
    base.Config(dataset="images", **fields)


def test_a_data_set_that_is_not_of_files_does_not_stream():
  with pytest.raises(InputError, match="it does nothing with --data.dataset=digits, so leave it out"):
    datasets.from_config(base.Config(dataset="digits", stream=True, image_size=(8,)))
