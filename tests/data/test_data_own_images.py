"""Images of a user's own: folders, arrays, sets of Hugging Face and of tensorflow-datasets; and what is refused."""

import io
import json
import pathlib
import re
import sys

import numpy as np
import pytest
from own_files import picture, write_images
from PIL import Image

from dnas.core.errors import InputError
from dnas.data import base, datasets
from dnas.data.base import Config, open_test
from dnas.data.own_images import described


def load(kind, path, **settings):
  return datasets.from_config(Config(dataset=kind, data_dir=str(path), **settings))


def refused(kind, path, **settings):
  with pytest.raises(InputError) as error:
    load(kind, path, **settings)
  text = str(error.value)
  assert text.endswith(".") and "\n" not in text
  return text


COUNTS = {"cat": 10, "dog": 20}


def test_a_folder_of_classes_is_divided_within_every_class(tmp_path):
  dataset = load("images", write_images(tmp_path, COUNTS))
  test = open_test(dataset, "a test")
  assert dataset.class_names == ("cat", "dog") and dataset.valid is None and not dataset.published
  assert np.bincount(dataset.train.labels).tolist() == [8, 16] and np.bincount(test.labels).tolist() == [2, 4]
  written = {picture(1000 * label + n, base=100 * label).tobytes() for label, c in enumerate(COUNTS.values()) for n in range(c)}
  assert {image.tobytes() for part in (dataset.train, test) for image in part.images} == written
  pixels = dataset.train.images / 255
  np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_the_division_depends_on_seed_and_portion_and_not_on_the_order_of_the_files(tmp_path, monkeypatch):
  write_images(tmp_path, COUNTS)
  one, other = load("images", tmp_path), load("images", tmp_path, test_seed=1)
  listed = pathlib.Path.iterdir
  monkeypatch.setattr(pathlib.Path, "iterdir", lambda path: iter(sorted(listed(path))[::-1]))
  again = load("images", tmp_path)
  np.testing.assert_array_equal(one.train.images, again.train.images)
  assert not np.array_equal(one.train.images, other.train.images)
  assert len(load("images", tmp_path, test_portion=0.5).train) == 15


def test_the_test_images_are_decoded_by_open_test_alone(tmp_path, monkeypatch):
  for part, number in (("train", 4), ("val", 3), ("test", 2)):
    write_images(tmp_path / part, {"a": number, "b": number})
  opened = []
  real = Image.open
  monkeypatch.setattr(Image, "open", lambda *arguments, **others: opened.append(1) or real(*arguments, **others))
  dataset = load("images", tmp_path)
  assert len(opened) == 14 and len(dataset.train) == 8 and len(dataset.valid) == 6
  (tmp_path / "test" / "b" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
  with pytest.raises(InputError, match=r"test/b/000\.png cannot be decoded as an image \(.*\); replace it, or take it away\.$"):
    open_test(dataset, "a test")
  write_images(tmp_path / "test", {"a": 2, "b": 2})
  assert open_test(dataset, "a test").labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("portion", [0.3, 1.0])
def test_a_validation_set_that_is_given_is_the_validation_set(tmp_path, portion):
  for part in ("train", "valid"):
    write_images(tmp_path / part, {"a": 5, "b": 5})
  dataset = load("images", tmp_path, train_portion=portion)
  for divide in (base.search_split, base.training_split):
    train, valid = divide(dataset, Config(train_portion=portion))
    assert train is dataset.train and valid is dataset.valid and len(valid) == 10
  few = load("images", tmp_path, examples=4, split="stratified")
  assert np.bincount(few.train.labels).tolist() == [2, 2] and len(few.valid) == 10


@pytest.mark.parametrize("size", [(6,), (6, 10)])
def test_images_of_several_sizes_are_resized(tmp_path, size):
  write_images(tmp_path, COUNTS)
  path = tmp_path / "cat" / "000.png"
  Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(path)
  text = refused("images", tmp_path, test_portion=0.1)
  assert re.fullmatch(r"images have different sizes, \S+000\.png 20x30 and \S+\.png 8x8 \(height x width\); give --data\.image_.*", text)
  dataset = load("images", tmp_path, image_size=size, test_portion=0.1)
  assert dataset.train.images.shape[1:] == (6, size[-1], 3)
  assert (dataset.train.images[0] == 77).all(), "the first cat trains"
  assert open_test(dataset, "a test").images.shape[1:] == (6, size[-1], 3)


def test_test_images_of_another_size_are_named(tmp_path):
  write_images(tmp_path / "train", COUNTS)
  write_images(tmp_path / "test", COUNTS, size=(9, 8))
  with pytest.raises(InputError, match=r"different sizes, \S+test/cat/000.png 9x8 and the training images 8x8 "):
    open_test(load("images", tmp_path), "a test")


def test_grey_stays_grey_and_mixed_images_become_colour(tmp_path):
  write_images(tmp_path, COUNTS, colour=False)
  dataset = load("images", tmp_path)
  assert dataset.train.images.shape[1:] == (8, 8, 1) and len(dataset.mean) == 1
  assert open_test(dataset, "a test").images.shape[1:] == (8, 8, 1)
  Image.fromarray(picture(3)).save(tmp_path / "dog" / "100.jpg")
  write_images(tmp_path / "train", COUNTS, colour=False)
  for name in COUNTS:
    (tmp_path / name).rename(tmp_path / "train" / f"also_{name}")
  mixed = load("images", tmp_path, image_size=(8,), test_portion=0.1, test_seed=1)
  grey = mixed.train.images[mixed.train.labels == mixed.class_names.index("cat")]
  assert mixed.train.images.shape[1:] == (8, 8, 3) and (grey == grey[..., :1]).all()


@pytest.mark.parametrize(
  ("image", "expected"),
  [
    (Image.fromarray(np.array([[0, 300], [40000, 65535]], np.uint16)), [[0, 1], [156, 255]]),
    (Image.fromarray(np.array([[True, False]] * 2)), [[255, 0]] * 2),
    (Image.new("LA", (2, 2), (9, 0)), [[9, 9]] * 2),
    (Image.new("RGBA", (2, 2), (9, 8, 7, 0)), [[[9, 8, 7]] * 2] * 2),
    (Image.new("RGB", (2, 2), (9, 8, 7)).convert("P", palette=Image.Palette.ADAPTIVE), [[[9, 8, 7]] * 2] * 2),
  ],
)
def test_every_form_of_png_becomes_8_bits(tmp_path, image, expected):
  for name in ("a", "b"):
    (tmp_path / "train" / name).mkdir(parents=True)
    for number in range(2):
      image.save(tmp_path / "train" / name / f"{number}.png")
  images = load("images", tmp_path, test_portion=0.5).train.images
  np.testing.assert_array_equal(images[0], np.array(expected, np.uint8).reshape(2, 2, -1))


def test_a_photograph_is_turned_as_the_camera_says(tmp_path):
  write_images(tmp_path, COUNTS, suffix=".jpg", size=(8, 8))
  for path in tmp_path.rglob("*.jpg"):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(path, exif=exif)
  assert load("images", tmp_path).train.images.shape[1:] == (8, 4, 3)


def _corrupt(path):
  (path / "cat" / "003.png").write_bytes((path / "cat" / "003.png").read_bytes()[:80])


def _other_suffix(path):
  for file in (path / "cat").iterdir():
    file.rename(file.with_suffix(".gif"))


def _flat(path):
  for number, file in enumerate(path.rglob("*.png")):
    file.rename(path / f"{number}.png")
  (path / "cat").rmdir()
  (path / "dog").rmdir()


def _valid_without_dogs(path):
  for part in ("train", "valid"):
    write_images(path / part, COUNTS if part == "train" else {"cat": 2})
  _only_parts(path)


def _only_parts(path):
  for name in COUNTS:
    for file in (path / name).iterdir():
      file.unlink()
    (path / name).rmdir()


def _valid_with_another(path):
  for part in ("train", "valid"):
    write_images(path / part, COUNTS if part == "train" else COUNTS | {"eel": 1})
  _only_parts(path)


@pytest.mark.parametrize(
  ("damage", "sentence"),
  [
    (_corrupt, r"\S+/cat/003\.png cannot be decoded as an image \(.*\); replace it, or take it away\."),
    (lambda path: (path / "eel").mkdir(), r".*its train part has no example of the class 'eel'; add some, or take the class away from .*"),
    (lambda path: [file.unlink() for file in path.rglob("*.png")], r".*its train part has no example of the class 'cat'; add some.*"),
    (lambda path: (path / "dog").rename(path / ".dog"), r"data\.data_dir is \S+; it holds one class, 'cat', and a classifier needs two .*"),
    (_flat, r"data\.data_dir is \S+; \S+ holds 30 files and no subfolder; give every class a subfolder with its images\."),
    (_other_suffix, r"\S+/cat holds no PNG or JPEG image, but files such as 000\.gif; convert them to PNG or JPEG\."),
    (lambda path: write_images(path / "train", COUNTS), r".*it holds the folder 'cat' beside 'train'; name it 'valid' or 'test', or .*"),
    (_valid_without_dogs, r".*its valid part has no example of the class 'dog'; add some.*"),
    (_valid_with_another, r".*its valid part has the class 'eel', which the training part lacks\."),
  ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, damage, sentence):
  damage(write_images(tmp_path, COUNTS))
  assert re.fullmatch(sentence, refused("images", tmp_path, test_portion=0.05 if damage is _corrupt else 0.2))


def test_a_class_that_is_too_small_to_divide_is_refused(tmp_path):
  write_images(tmp_path, {"a": 20, "b": 1})
  assert re.fullmatch(
    r"data\.test_portion is 0\.2; it leaves the (test|training) part no example of the class 'b', which has 1 example; give .*\.",
    refused("images", tmp_path),
  )


@pytest.mark.parametrize("kind", ["images", "arrays", "hf", "tfds"])
def test_a_path_without_data_is_refused(tmp_path, kind):
  assert f"the data set '{kind}' reads files of your own, so give their path" in refused(kind, "")
  for path in (tmp_path / "no", tmp_path):
    assert str(tmp_path) in refused(kind, path)


def test_settings_of_own_files_are_refused_for_other_sets():
  assert refused("digits", "", image_size=(8,)) == "data.image_size is (8,); it does nothing with --data.dataset=digits, so leave it out."


def test_what_a_run_keeps_tells_changed_pixels(tmp_path):
  before = described(load("images", write_images(tmp_path, COUNTS)))
  about = json.loads(before)
  assert about["class_names"] == ["cat", "dog"] and about["image_shape"] == [8, 8, 3] and about["examples_by_class"] == {"train": [8, 16]}
  assert described(load("images", tmp_path)) == before
  for path in (tmp_path / "cat").iterdir():
    Image.fromarray(picture(99)).save(path)
  assert described(load("images", tmp_path)) != before


def _arrays(count=6, **others):
  images = np.stack([picture(number) for number in range(count)])
  return {"train_images": images, "train_labels": np.arange(count) % 2} | others


def test_arrays_of_one_file(tmp_path):
  path = tmp_path / "own.npz"
  np.savez(path, **_arrays(20))
  dataset = load("arrays", path)
  assert dataset.class_names == ("0", "1") and (len(dataset.train), len(open_test(dataset, "a test"))) == (16, 4)
  other = {f"{part}_{name}": _arrays(4)[f"train_{name}"] for part in ("valid", "test") for name in ("images", "labels")}
  np.savez(path, **_arrays(), **other, class_names=["x", "y"])
  dataset = load("arrays", path, image_size=(4, 6))
  assert dataset.class_names == ("x", "y") and (len(dataset.train), len(dataset.valid)) == (6, 4)
  assert dataset.train.images.shape[1:] == open_test(dataset, "a test").images.shape[1:] == (4, 6, 3)
  np.savez(path, **{**_arrays(), "train_images": np.stack([picture(0, colour=False)] * 6)}, class_names=["x", "y"])
  assert load("arrays", path, test_portion=0.4).train.images.shape[1:] == (8, 8, 1)


@pytest.mark.parametrize(
  ("arrays", "sentence"),
  [
    (_arrays(train_labels=np.arange(5)), r"\S+ has 6 images and 5 labels in its train part; give a label for every image\."),
    (_arrays(train_images=np.zeros((6, 8, 8, 3))), r"\S+, train part: images are float64 .*"),
    (_arrays(train_images=np.array([None] * 6)), r"\S+, train part: the array 'train_images' cannot be read .*; write the file again\."),
    ({"train_images": _arrays()["train_images"]}, r"\S+, train part: the array 'train_labels' is missing; add it\."),
    (_arrays(class_names=["x"]), r"\S+ has the label 1 in its train part and 1 classes; labels count from 0\."),
    (_arrays(train_labels=np.array([0, 2] * 3)), r".*its train part has no example of the class '1'; .*"),
    ({"images": np.zeros(3)}, r".*it has no training part; name one part 'train'\."),
  ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, sentence):
  np.savez(tmp_path / "own.npz", **arrays)
  assert re.fullmatch(sentence, refused("arrays", tmp_path / "own.npz"))


@pytest.fixture
def hf(tmp_path):
  """Writes a set of Hugging Face to disk."""
  library = pytest.importorskip("datasets")

  def write(parts, **features):
    kinds = {"picture": library.Image(), "kind": library.ClassLabel(names=["x", "y"])} | features

    def table(count):
      columns = {"picture": [Image.fromarray(picture(n)) for n in range(count)], "kind": [n % 2 for n in range(count)]}
      columns |= {name: [n % 2 for n in range(count)] for name in features}
      return library.Dataset.from_dict(columns, features=library.Features(kinds))

    one = library.DatasetDict({part: table(count) for part, count in parts.items()}) if isinstance(parts, dict) else table(parts)
    one.save_to_disk(str(tmp_path / "hf"))
    return tmp_path / "hf"

  return write


def test_a_set_of_hugging_face(hf):
  dataset = load("hf", hf({"train": 8, "validation": 4, "test": 2}))
  assert dataset.class_names == ("x", "y") and (len(dataset.train), len(dataset.valid)) == (8, 4)
  np.testing.assert_array_equal(dataset.train.images[3], picture(3))
  assert open_test(dataset, "a test").labels.tolist() == [0, 1]


def test_one_table_of_hugging_face_is_divided_and_two_classes_are_refused(hf):
  import datasets as library

  assert len(load("hf", hf(10)).train) == 8
  assert "it needs one column of classes (a feature ClassLabel), and has several among: kind, other" in refused(
    "hf", hf(10, other=library.ClassLabel(names=["p", "q"]))
  )


def test_without_the_package_the_message_says_how_to_get_it(tmp_path, monkeypatch):
  (tmp_path / "state.json").write_text("{}")
  monkeypatch.setitem(sys.modules, "datasets", None)
  assert "--data.dataset=hf needs the package datasets (" in (text := refused("hf", tmp_path)) and "run pip install datasets." in text


@pytest.mark.filterwarnings("ignore")
def test_a_prepared_set_of_tensorflow_datasets(tmp_path):
  import tensorflow_datasets as tfds

  class OwnShapes(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(names=["x", "y"])}
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(8), "validation": self._generate_examples(4), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
      for number in range(count):
        file = io.BytesIO()
        Image.fromarray(picture(number)).save(file, "PNG")
        file.seek(0)
        yield number, {"image": file, "label": number % 2}

  OwnShapes(data_dir=tmp_path, file_format="array_record").download_and_prepare()
  for folder in (tmp_path / "own_shapes", tmp_path / "own_shapes" / "1.0.0"):
    dataset = load("tfds", folder)
  assert dataset.class_names == ("x", "y") and (len(dataset.train), len(dataset.valid)) == (8, 4)
  known = {picture(number).tobytes(): number % 2 for number in range(8)}
  assert [known[image.tobytes()] for image in dataset.train.images] == dataset.train.labels.tolist()
  assert len(open_test(dataset, "a test")) == 2
