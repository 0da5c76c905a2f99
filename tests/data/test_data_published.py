"""Published files: read from a folder, downloaded, missing, damaged. The folders here are small and have the published structure."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.data import base, cifar, datasets, fashion_mnist, published, wikitext2
from dnas.data.download import Download

COUNT = 6
DATA_DIR = os.environ.get("DNAS_DATA_DIR", "")


def _text(value: bytes) -> bytes:
  """The opcode by which Python 2 pickled a short string."""
  return b"U" + bytes([len(value)]) + value


def _pickle(images: np.ndarray, labels: list[int], labels_key: bytes) -> bytes:
  """The pickle that Python 2 and its NumPy wrote, opcode by opcode, which is what is published."""
  data = images.transpose(0, 3, 1, 2).tobytes()
  return b"".join(
    (
      b"\x80\x02}(",
      *(_text(labels_key), b"](", *(b"K" + bytes([label]) for label in labels), b"e"),
      *(_text(b"data"), b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"K\x00\x85U\x01b\x87R"),
      *(b"(K\x01M", struct.pack("<H", len(images)), b"M\x00\x0c\x86cnumpy\ndtype\n", b"U\x02u1K\x00K\x01\x87R"),
      *(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89", b"T", struct.pack("<I", len(data)), data, b"tb"),
      b"u.",
    )
  )


def _cifar_folder(parent: pathlib.Path, published_form: published.Published, labels_key: bytes) -> tuple[np.ndarray, list[int]]:
  """Writes a folder of six examples a file; returns the images and labels in order, test last."""
  rng, folder = np.random.default_rng(0), parent / published_form.folder
  folder.mkdir()
  images = rng.integers(0, 256, size=(COUNT * len(published_form.files), 32, 32, 3), dtype=np.uint8)
  labels = rng.integers(0, 10, size=len(images)).tolist()
  for i, name in enumerate(published_form.files):
    part = slice(i * COUNT, (i + 1) * COUNT)
    (folder / name).write_bytes(_pickle(images[part], labels[part], labels_key))
  return images, labels


def _idx(array: np.ndarray) -> bytes:
  return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def _fashion_folder(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, size=(COUNT, 28, 28), dtype=np.uint8), rng.integers(0, 10, size=COUNT, dtype=np.uint8)
  for image_file, label_file in (fashion_mnist.TRAIN, fashion_mnist.TEST):
    (folder / image_file).write_bytes(_idx(images))
    (folder / label_file).write_bytes(_idx(labels))
  return images, labels


def _message(name: str, data_dir: pathlib.Path) -> str:
  """The error of loading, which is one sentence on one line."""
  with pytest.raises(InputError) as error:
    datasets.load(name, str(data_dir))
  text = str(error.value)
  assert "\n" not in text and text.endswith(".")
  return text


@pytest.mark.parametrize(("name", "form", "key"), [("cifar10", cifar.CIFAR10, b"labels"), ("cifar100", cifar.CIFAR100, b"fine_labels")])
@pytest.mark.parametrize("inside", [False, True])
def test_cifar_reads_its_folder_or_the_one_around_it(
  tmp_path: pathlib.Path, name: str, form: published.Published, key: bytes, inside: bool
):
  images, labels = _cifar_folder(tmp_path, form, key)
  dataset = datasets.load(name, str(tmp_path / form.folder if inside else tmp_path))
  test = base.open_test(dataset, "a test of the reader")
  np.testing.assert_array_equal(dataset.train.images, images[:-COUNT])
  np.testing.assert_array_equal(test.images, images[-COUNT:])
  assert dataset.train.labels.tolist() + test.labels.tolist() == labels
  assert dataset.train.images.dtype == np.uint8 and dataset.train.labels.dtype == np.int32
  assert len(set(dataset.class_names)) == dataset.num_classes == int(name.removeprefix("cifar"))


def test_fashion_mnist_reads_its_folder(tmp_path: pathlib.Path):
  images, labels = _fashion_folder(tmp_path)
  dataset = datasets.load("fashion_mnist", str(tmp_path))
  for split in (dataset.train, base.open_test(dataset, "a test of the reader")):
    np.testing.assert_array_equal(split.images[..., 0], images)
    np.testing.assert_array_equal(split.labels, labels)
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32


def test_loading_does_not_read_the_test_set(tmp_path: pathlib.Path):
  _cifar_folder(tmp_path, cifar.CIFAR10, b"labels")
  (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"not a pickle")
  dataset = datasets.load("cifar10", str(tmp_path))
  with pytest.raises(InputError, match="test_batch is damaged"):
    base.open_test(dataset, "a test of reading it")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_a_folder_without_the_files_names_the_flag(tmp_path: pathlib.Path, name: str):
  for folder in (tmp_path, tmp_path / "nowhere"):
    assert _message(name, folder).startswith(f"data.data_dir is {folder}; it holds no folder '")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
@pytest.mark.parametrize(
  ("data_dir", "expected"),
  [
    ("~nobody-of-this-name/x", "--data.data_dir=~nobody-of-this-name/x begins with "),
    ("x" * 260, f"data.data_dir is {'x' * 260}; it cannot be read (File name too long); correct that, or give another folder."),
    ("a\0b", r"--data.data_dir=a\x00b has a null character, which no path has; leave it out."),
    ("\ud800", r"data.data_dir is '\ud800'; it holds no folder"),
  ],
)
def test_a_folder_that_cannot_be(name: str, data_dir: str, expected: str):
  assert _message(name, data_dir).startswith(expected)


def test_a_missing_file_is_named_with_its_source(tmp_path: pathlib.Path):
  _cifar_folder(tmp_path, cifar.CIFAR10, b"labels")
  path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
  path.unlink()
  assert _message("cifar10", tmp_path) == f"{path} is missing; get it from {cifar.CIFAR10.downloads[0].url}."
  folder = tmp_path / "fashion"
  folder.mkdir()
  _fashion_folder(folder)
  (folder / fashion_mnist.TEST[1]).unlink()
  assert f"get it from {fashion_mnist.SITE}/{fashion_mnist.TEST[1]}." in _message("fashion_mnist", folder)


class _Attack:
  """Pickles as a call, which an unrestricted reader would make."""

  def __reduce__(self) -> tuple:
    return os.mkdir, ("attacked",)


def _damage(kind: str, content: bytes) -> bytes:
  images = np.zeros((COUNT, 32, 32, 3), np.uint8)
  return {
    "truncated": content[: len(content) // 2],
    "empty": b"",
    "garbage": b"\x80\x04garbage" * 9,
    "wrong shape": pickle.dumps({b"data": images, b"labels": [0] * COUNT}, protocol=4),
    "too few labels": _pickle(images, [0] * (COUNT - 1), b"labels"),
    "label out of range": _pickle(images, [10] * COUNT, b"labels"),
    "no labels": _pickle(images, [0] * COUNT, b"coarse"),
    "floats": pickle.dumps({b"data": np.zeros((COUNT, 3072)), b"labels": [0] * COUNT}, protocol=4),
    "objects": pickle.dumps({b"data": np.array([_Attack()], object), b"labels": [0]}, protocol=4),
    "code": pickle.dumps({b"data": _Attack(), b"labels": [0] * COUNT}, protocol=4),
  }[kind]


@pytest.mark.parametrize(
  "kind",
  ["truncated", "empty", "garbage", "wrong shape", "too few labels", "label out of range", "no labels", "floats", "objects", "code"],
)
def test_a_damaged_cifar_file_is_named_and_never_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str):
  monkeypatch.chdir(tmp_path)
  _cifar_folder(tmp_path, cifar.CIFAR10, b"labels")
  path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
  path.write_bytes(_damage(kind, path.read_bytes()))
  text = _message("cifar10", tmp_path)
  assert text.startswith(f"{path} is damaged (") and text.endswith(f"; delete it and get it again from {cifar.CIFAR10.downloads[0].url}.")
  assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("kind", ["truncated", "not compressed", "other rank", "wrong length", "label out of range", "other count"])
def test_a_damaged_fashion_mnist_file_is_named(tmp_path: pathlib.Path, kind: str):
  images, labels = _fashion_folder(tmp_path)
  image_path, label_path = (tmp_path / name for name in fashion_mnist.TRAIN)
  path, content = {
    "truncated": (image_path, image_path.read_bytes()[:-100]),
    "not compressed": (image_path, images.tobytes()),
    "other rank": (image_path, _idx(labels)),
    "wrong length": (label_path, gzip.compress(gzip.decompress(_idx(labels))[:-1])),
    "label out of range": (label_path, _idx(labels + 10)),
    "other count": (image_path, _idx(images[1:])),
  }[kind]
  path.write_bytes(content)
  assert _message("fashion_mnist", tmp_path).startswith(f"{path} is damaged (")


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, pathlib.Path]]:
  """A web server on this machine: its address and its folder; downloads go to a cache of this test."""
  folder = tmp_path / "site"
  folder.mkdir()
  monkeypatch.setenv("DNAS_DOWNLOADS", str(tmp_path / "cache"))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "earlier"))

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
      pass

  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as web:
    thread = threading.Thread(target=web.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}", folder
    web.shutdown()
    thread.join()


def _served(server: tuple[str, pathlib.Path], name: str, content: bytes) -> Download:
  url, folder = server
  (folder / name).write_bytes(content)
  return Download(f"{url}/{name}", len(content), hashlib.sha256(content).hexdigest())


def test_an_archive_is_downloaded_once_and_only_the_published_files_leave_it(server: tuple[str, pathlib.Path], tmp_path: pathlib.Path):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
    for name in ("set/a", "../outside", "set/other", "set/b"):
      member = tarfile.TarInfo(name)
      member.size = len(name)
      archive.addfile(member, io.BytesIO(name.encode()))
  form = published.Published("set", ("a", "b"), (_served(server, "set.tar.gz", buffer.getvalue()),))
  folder = published.locate(form, "")
  assert folder == tmp_path / "cache" / "set"
  assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "set/a", "b": "set/b"}
  (server[1] / "set.tar.gz").unlink()
  assert published.locate(form, "") == folder and sorted(os.listdir(folder.parent)) == [".lock", "set"]
  (tmp_path / "earlier").mkdir()
  folder.parent.rename(tmp_path / "earlier" / "downloads")  # where earlier versions kept their downloads
  assert published.locate(form, "") == tmp_path / "earlier" / "downloads" / "set" and not folder.exists()


def test_a_zip_archive_feeds_the_reader_of_wikitext2(
  server: tuple[str, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    archive.mkdir("wikitext-2")
    for name in ("wikitext-2/other", "../outside", *(f"wikitext-2/{name}" for name in wikitext2.PUBLISHED.files)):
      archive.writestr(name, " \n = A title = \n")
  download = _served(server, "wikitext-2-v1.zip", buffer.getvalue())
  monkeypatch.setattr(wikitext2, "PUBLISHED", published.Published("wikitext-2", wikitext2.PUBLISHED.files, (download,)))
  dataset = datasets.load_text("wikitext2")
  assert dataset.vocabulary.decode(dataset.train) == ["<eos>", "=", "A", "title", "=", "<eos>"]
  folder = tmp_path / "cache" / "wikitext-2"
  assert {path.name for path in folder.iterdir()} == set(wikitext2.PUBLISHED.files) and not list(tmp_path.rglob("outside"))
  (server[1] / "wikitext-2-v1.zip").unlink()
  assert len(datasets.load_text("wikitext2").valid) == 6


def test_a_download_feeds_the_reader(server: tuple[str, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  source = tmp_path / "source"
  source.mkdir()
  images, _ = _fashion_folder(source)
  names = fashion_mnist.TRAIN + fashion_mnist.TEST
  downloads = tuple(_served(server, name, (source / name).read_bytes()) for name in names)
  monkeypatch.setattr(fashion_mnist, "PUBLISHED", published.Published("fashion-mnist", names, downloads))
  np.testing.assert_array_equal(datasets.load("fashion_mnist", "").train.images[..., 0], images)


def test_a_failed_download_is_one_sentence_with_the_mend(server: tuple[str, pathlib.Path], tmp_path: pathlib.Path):
  absent = Download(f"{server[0]}/absent.tar.gz", 1, "0" * 64)
  altered = Download(_served(server, "altered.tar.gz", b"altered").url, 7, "0" * 64)
  altered_text = Download(_served(server, "a.txt", b"altered").url, 7, "0" * 64)
  broken = _served(server, "broken.zip", b"not a zip archive")
  unreachable = Download("http://127.0.0.1:9/set.tar.gz", 1, "0" * 64)
  failures = ((absent, "404"), (altered, "not match"), (altered_text, "not match"), (broken, "ReadError"), (unreachable, "refused"))
  for download, reason in failures:
    with pytest.raises(InputError) as error:
      published.locate(published.Published("set", ("a",), (download,)), "")
    text = str(error.value)
    assert text.startswith(f"Cannot download {download.url} into {tmp_path / 'cache'} (") and reason in text
    assert text.endswith("; connect to the network, or give the folder 'set' by --data.data_dir.") and "\n" not in text


@pytest.mark.skipif(not DATA_DIR, reason="the published CIFAR-10 is read where DNAS_DATA_DIR names its folder")
def test_the_published_cifar10():
  dataset = datasets.load("cifar10", DATA_DIR)
  for channel in range(3):
    pixels = dataset.train.images[..., channel]
    assert abs(pixels.mean() / 255 - dataset.mean[channel]) < 1e-6 and abs(pixels.std() / 255 - dataset.std[channel]) < 1e-6
  assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
  train, valid = base.search_split(dataset, base.Config())
  assert len(train) == len(valid) == 25000
  assert np.bincount(base.open_test(dataset, "a test of the reader").labels).tolist() == [1000] * 10


READERS = [lambda path: cifar._read_batch(path, "labels", 10, cifar.CIFAR10), lambda path: fashion_mnist._read_idx(path, 1)]


@pytest.mark.parametrize("read", READERS, ids=["cifar", "fashion_mnist"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, read):
  def fail(_):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(pathlib.Path, "read_bytes", fail)
  with pytest.raises(InputError, match=r"data cannot be read \(permission denied\); correct that, such as its permissions\.$"):
    read(tmp_path / "data")
