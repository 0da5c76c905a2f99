"""What a data set refuses where it is made, each in a sentence that says how to mend it; and channels that never vary."""

import dataclasses

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.data import base, text

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
LABELS = np.arange(12) % 4
STATISTICS = base.channel_statistics(IMAGES)
NAMES = ("a", "b", "c", "d")


def dataset(images=IMAGES, labels=LABELS, **changes) -> base.ImageDataset:
  fields = {"num_classes": 4, "mean": STATISTICS[0], "std": STATISTICS[1], "class_names": NAMES, "_read_test": lambda: None} | changes
  return base.ImageDataset("own", base.Split(images, labels), **fields)


def sentence(error: pytest.ExceptionInfo) -> str:
  said = str(error.value)
  assert "\n" not in said and said.endswith(".") and said.count(". ") == 0
  return said


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, list])
def test_labels_of_any_integer_type_become_int32(kind):
  labels = LABELS.tolist() if kind is list else LABELS.astype(kind)
  split = base.Split(IMAGES, labels)
  assert split.labels.dtype == np.int32 and split.labels.tolist() == LABELS.tolist() and split.images is IMAGES


@pytest.mark.parametrize(
  ("images", "expected"),
  [
    (
      IMAGES / 255.0,
      "images are float64 [12, 8, 8, 3], and must be uint8 [N, H, W, C]; convert floats in [0, 1] by np.round(",
    ),
    (IMAGES.astype(np.float32), "images are float32 [12, 8, 8, 3], and must be"),
    (IMAGES.astype(np.int64), "images are int64 [12, 8, 8, 3], and must be"),
    (IMAGES > 127, "images are bool [12, 8, 8, 3], and must be"),
    (
      IMAGES.transpose(0, 3, 1, 2),
      "images have shape [12, 3, 8, 8], which looks like channels first; give [N, ",
    ),
    (IMAGES[:, :, :, :1].transpose(0, 3, 1, 2), "images have shape [12, 1, 8, 8], which looks like channels first"),
    (IMAGES[..., 0], "images have shape [12, 8, 8], and it must be [N, H, W, C]; give grey images a last axis, by images[..., None]."),
    (IMAGES.reshape(12, -1), "images have shape [12, 192], and it must be [N, H, W, C]; give axes for rows, columns and channels."),
    (IMAGES[:0], "images have shape [0, 8, 8, 3], so there is no image; give at least one, of at least one pixel."),
    (IMAGES[:, :0], "images have shape [12, 0, 8, 3], so there is no image"),
    ([IMAGES[0], IMAGES[1, :4]], "images are arrays of different shapes; give all of them one shape."),
    (None, "images are object [], and must be uint8"),
    (IMAGES[:11], "a split has 11 images and 12 labels; give it a label for every image."),
  ],
)
def test_images_of_another_kind_are_refused(images, expected):
  with pytest.raises(InputError) as error:
    base.Split(images, LABELS)
  assert sentence(error).startswith(expected)


@pytest.mark.parametrize("images", [IMAGES / 255.0, IMAGES[0]])
def test_statistics_are_of_checked_images(images):
  with pytest.raises(InputError, match=r"^images .*uint8|^images .*\[N, H, W, C\]"):
    base.channel_statistics(images)


@pytest.mark.parametrize(
  ("labels", "expected"),
  [
    (LABELS.astype(float), "labels are float64, and must be integers that count from 0; convert them by .astype(np.int32)."),
    (LABELS > 1, "labels are bool, and must be integers"),
    (np.array(["cat"] * 12), "labels are <U3, and must be integers"),
    (LABELS.astype("timedelta64[s]"), "labels are timedelta64[s], and must be integers"),
    (LABELS[:, None], "labels have shape [12, 1], and it must be [N]; convert one-hot rows by labels.argmax(1)."),
    (LABELS - 1, "labels go from -1 to 2, and must count from 0; subtract the smallest."),
    (LABELS + 2**33, "labels go from 8589934592 to 8589934595, and must count from 0; subtract the smallest."),
    ([], "labels are float64, and must be integers"),
  ],
)
def test_labels_of_another_kind_are_refused(labels, expected):
  with pytest.raises(InputError) as error:
    base.Split(IMAGES, labels)
  assert sentence(error).startswith(expected)


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    (
      {"labels": LABELS + 1},
      "has labels from 1 to 4 in its training split, and 3 of them are above 3; with 4 classes they are 0 to 3",
    ),
    ({"num_classes": 1}, "has num_classes 1; a classifier needs a whole number of at least 2."),
    ({"num_classes": 4.0}, "has num_classes 4.0; a classifier needs a whole"),
    ({"num_classes": 10**400}, "has num_classes 1000"),
    ({"mean": None}, "has None as mean; give those of"),
    ({"mean": ("0.5",) * 3}, "has ('0.5', '0.5', '0.5') as mean; give those of"),
    ({"std": np.ones(3, bool)}, "has array([ True, True, True]) as std; give those of"),
    ({"published": "no"}, "has published 'no'; it must be true or false."),
    ({"class_names": NAMES[:3]}, "has 3 class_names, 3 of them different, for 4 classes; name each once."),
    ({"class_names": ("a", "b", "c", "a")}, "has 4 class_names, 3 of them different, for 4 classes; name each once."),
    ({"mean": (0.5,)}, "has 1 values in mean; its images have 3 channels, so give 3."),
    ({"std": (0.5,) * 4}, "has 4 values in std; its images have 3 channels, so give 3."),
    (
      {"mean": (125.0, 125.0, 125.0)},
      "has (125.0, 125.0, 125.0) as mean; give those of pixels in [0, 1]",
    ),
    ({"std": (0.5, 0.5, np.nan)}, "has (0.5, 0.5, nan) as std; give those of"),
    ({"std": (0.5, 0.5, -0.5)}, "has (0.5, 0.5, -0.5) as std; give those of"),
    ({"train": (IMAGES, LABELS)}, "has a tuple as its training split; give a `Split`."),
  ],
)
def test_parts_that_do_not_fit_each_other_are_refused(changes, expected):
  with pytest.raises(InputError) as error:
    dataclasses.replace(dataset(), **changes) if "train" in changes else dataset(**changes)
  assert sentence(error).startswith(f"the data set 'own' {expected}")


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"class_names": 4}, "the class_names of 'own' are 4; give a sequence of names."),
    ({"class_names": ("a", "", "c", "d")}, "the class_names of 'own' contain ''; give a sequence of names"),
    ({"class_names": ("a", None, "c", "d")}, "the class_names of 'own' contain None"),
    ({"name": ""}, "a data set has the name ''; give a name that is not empty."),
    ({"name": 3}, "a data set has the name 3; give a name"),
  ],
)
def test_names_are_texts(changes, expected):
  with pytest.raises(InputError) as error:
    dataclasses.replace(dataset(), **changes)
  assert sentence(error).startswith(expected)
  assert dataset(class_names=range(4)).class_names == ("0", "1", "2", "3") and type(dataset(num_classes=np.int64(4)).num_classes) is int


def test_a_deviation_that_no_channel_has_is_replaced_by_one():
  assert dataset(std=(0.5, 1e-40, 0.25)).std == (0.5, 1.0, 0.25)  # pixels that are divided by it are not finite in float32


@pytest.mark.parametrize(
  ("test", "expected"),
  [
    (lambda: base.Split(IMAGES, LABELS + 1), "has labels from 1 to 4 in its test split, and 3 of them are above 3"),
    (
      lambda: base.Split(IMAGES[:, :4], LABELS),
      "has test images of shape (4, 8, 3) and training images of shape (8, 8, 3); give both",
    ),
    (lambda: (IMAGES, LABELS), "has a tuple as its test split; give a `Split`."),
  ],
)
def test_the_test_split_is_checked_when_it_is_read(test, expected):
  own = dataset(_read_test=test)
  with pytest.raises(InputError) as error:
    base.open_test(own, "a test of it")
  assert sentence(error).startswith(f"the data set 'own' {expected}")


def test_values_of_numpy_become_tuples_that_a_compiled_function_can_be_kept_for():
  own = dataset(mean=np.array(STATISTICS[0], np.float32), std=np.array([STATISTICS[1]]), class_names=[1, 2, 3, 4])
  assert own.class_names == ("1", "2", "3", "4") and own.std == STATISTICS[1]
  hash((own.mean, own.std))


@pytest.mark.parametrize("value", [255, 100])
def test_a_channel_that_never_varies_is_divided_by_one_and_told(value, monkeypatch):
  lines = []
  monkeypatch.setattr(base.logging, "warning", lambda text, *values: lines.append(text % values))
  images = np.concatenate([IMAGES, np.full((12, 8, 8, 1), value, np.uint8)], -1)
  mean, std = base.channel_statistics(images)
  assert std[3] < 1e-12
  own = dataset(images, mean=mean, std=std)
  assert own.std == (*STATISTICS[1], 1.0)
  assert (
    len(lines) == 1 and lines[0].startswith("Channel 3 of 'own' has standard deviation ") and lines[0].endswith("; it is divided by 1.")
  )
  assert dataclasses.replace(own).std == own.std and len(lines) == 1


def test_a_given_deviation_of_zero_is_one_and_a_small_one_of_a_channel_that_varies_stays():
  assert dataset(std=(0.0, 0.5, 1e-4)).std == (1.0, 0.5, 1e-4)


@pytest.mark.parametrize(
  ("ids", "expected"),
  [
    (np.array([0.0, 1.0]), "the ids of the {split} text of 'own' are float64, and must be integers that count from 0"),
    (np.array([[0, 1]]), "the ids of the {split} text of 'own' have shape [1, 2], and it must be [N]; join the lines."),
    (np.array([0, -1]), "the ids of the {split} text of 'own' go from -1 to 0, and must count from 0"),
    (np.array([0, 2]), "The {split} text of 'own' has ids up to 2, and its vocabulary 2 words; ids are 0 to 1."),
    (np.array([0]), "The {split} text of 'own' has 1 token(s); give at least two"),
  ],
)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_ids_that_are_none_of_the_vocabulary_are_refused(split, ids, expected):
  good = np.array([0, 1], np.int64)
  parts = {"train": good, "valid": good, "test": good} | {split: ids}
  with pytest.raises(InputError) as error:
    own = text.TextDataset("own", "word", parts["train"], parts["valid"], text.Vocabulary(("x", "y")), {}, _read_test=lambda: parts["test"])
    assert own.train.dtype == np.int32
    base.open_test(own, "a test of it")
  assert sentence(error).startswith(expected.format(split=split))
