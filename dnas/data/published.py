"""Folders of published files: given by a person, or downloaded once by tensorflow-datasets.

Only the download manager of tensorflow-datasets is used (it caches, shows progress and checks sums). Its builders for these sets need
TensorFlow to prepare their records, and they shuffle the examples; the published files keep the order that published splits refer to.
"""

import dataclasses
import os
import pathlib
import tarfile
import urllib.request
import zipfile

from absl import logging

from dnas.core import durable
from dnas.core.errors import FieldError, InputError, unreadable
from dnas.core.paths import expanded

PROBE_SECONDS = 20
"""How long to wait for the first answer of a server; tensorflow-datasets alone would retry for minutes without a network."""


@dataclasses.dataclass(frozen=True)
class Download:
  """One published file.

  Attributes:
    url: where it is. A tar or zip archive is unpacked; another file is kept under its name.
    size: bytes.
    sha256: hexadecimal checksum.
  """

  url: str
  size: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Published:
  """The published form of a data set.

  Attributes:
    folder: name of its folder, inside its archive if it has one.
    files: names of the files that are read.
    downloads: where the files come from.
  """

  folder: str
  files: tuple[str, ...]
  downloads: tuple[Download, ...]

  def source(self, name: str) -> str:
    """Returns the address of the file, or of the archive that holds it."""
    urls = [download.url for download in self.downloads]
    return next((url for url in urls if url.endswith(f"/{name}")), urls[0])


def locate(published: Published, data_dir: str) -> pathlib.Path:
  """Returns the folder with the published files; each of them exists.

  Args:
    published: the data set.
    data_dir: the folder, or the folder around it. If it is empty, the files are downloaded into the cache of tensorflow-datasets
      (`$TFDS_DATA_DIR/downloads`, by default in `~/tensorflow_datasets`), unless an earlier call has done so.

  Raises:
    InputError: if the folder or a file is missing, or the download fails.
  """
  if not data_dir:
    return _downloaded(published)
  root = pathlib.Path(data_dir)
  try:
    folder = root / published.folder if (root / published.folder).is_dir() else root
    missing = [name for name in published.files if not (folder / name).is_file()]
  except OSError as e:
    raise FieldError("data.data_dir", data_dir, f"it cannot be read ({e.strerror}); correct that, or give another folder") from None
  if len(missing) == len(published.files):
    hint = f"it holds no folder '{published.folder}', so give the folder that does, or leave it empty to download the data set"
    raise FieldError("data.data_dir", data_dir, hint)
  if missing:
    raise InputError(f"{folder / missing[0]} is missing; get it from {published.source(missing[0])}.")
  return folder


def damaged(path: pathlib.Path, reason: str, published: Published) -> InputError:
  """Returns the error for a file that cannot be what was published."""
  reason = " ".join(reason.split())[:120]
  return InputError(f"{path} is damaged ({reason}); delete it and get it again from {published.source(path.name)}.")


def read_bytes(path: pathlib.Path) -> bytes:
  """Returns the content of a file. Raises InputError if it cannot be read; its content may still be right."""
  try:
    return path.read_bytes()
  except (OSError, ValueError) as e:  # a path that no file can have is a ValueError
    raise unreadable(path, e) from None


def read_lines(path: pathlib.Path, published_tokens: int | None = None) -> list[str]:
  """Returns the lines of a text file, without their ends and outer spaces.

  Another text than the published one is read all the same, with a warning that results do not compare.

  Args:
    path: a file in UTF-8.
    published_tokens: how many words and line ends the published file has; None for a file that is not a published one.

  Raises:
    InputError: if the file cannot be read, or is empty, binary or not UTF-8.
  """
  try:
    text = read_bytes(path).decode("utf-8-sig")
  except UnicodeDecodeError as e:
    raise InputError(f"{path} is not UTF-8 (byte {e.start + 1} is 0x{e.object[e.start]:02x}); convert it to UTF-8.") from None
  if "\0" in text:
    raise InputError(f"{path} is a binary file (it holds a zero byte); give plain text in UTF-8.")
  if not text.strip():
    raise InputError(f"{path} holds no words; give text in UTF-8.")
  lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
  tokens = sum(len(line.split()) + 1 for line in lines)
  if published_tokens not in (None, tokens):
    message = "%s has %s words and line ends, and the published text %s: results do not compare with published ones."
    logging.warning(message, path, f"{tokens:,}", f"{published_tokens:,}")
  return lines


def _downloaded(published: Published) -> pathlib.Path:
  cache = expanded("TFDS_DATA_DIR", os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")) / "downloads"
  folder = cache / published.folder
  for download in published.downloads:
    own_name = download.url.rpartition("/")[2]
    is_archive = own_name.endswith((".tar.gz", ".zip"))
    wanted = published.files if is_archive else (own_name,)
    if all((folder / name).is_file() for name in wanted):
      continue
    try:
      path = _fetch(download, cache)
      durable.make_folder(folder)
      _unpack(path, folder, wanted) if is_archive else durable.write(folder / own_name, path.read_bytes(), shared=True)
    except Exception as e:  # tensorflow-datasets, requests, the archive readers and the file system fail in many ways, with one mend
      reason = " ".join(f"{type(e).__name__}: {e}".split())[:200]
      hint = f"connect to the network, or give the folder '{published.folder}' by --data.data_dir"
      raise InputError(f"Cannot download {download.url} into {cache} ({reason}); {hint}.") from e
  return folder


def _fetch(download: Download, cache: pathlib.Path) -> pathlib.Path:
  """Returns the path of a downloaded file whose checksum is right."""
  import tensorflow_datasets as tfds  # here, because it is slow to import and seldom needed
  from tensorflow_datasets.core.download.checksums import UrlInfo

  urllib.request.urlopen(download.url, timeout=PROBE_SECONDS).close()
  info = UrlInfo(size=download.size, checksum=download.sha256, filename=None)  # pyright: ignore[reportArgumentType]  # it takes an int
  manager = tfds.download.DownloadManager(download_dir=cache, url_infos={download.url: info}, force_checksums_validation=True)
  return pathlib.Path(manager.download(download.url))


def _unpack(path: pathlib.Path, folder: pathlib.Path, names: tuple[str, ...]) -> None:
  """Writes the named files of a tar or zip archive, and no others, into a folder."""
  if zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as archive:
      for member in archive.namelist():
        if (name := member.rpartition("/")[2]) in names:
          durable.write(folder / name, archive.read(member), shared=True)
    return
  with tarfile.open(path) as archive:
    for member in archive:
      name = member.name.rpartition("/")[2]
      if name in names and member.isfile() and (file := archive.extractfile(member)):
        durable.write(folder / name, file.read(), shared=True)
