"""Folders of published files: given by a person, or downloaded once.

The published files are read themselves, since they keep the order that published splits refer to. The builders of tensorflow-datasets need
TensorFlow to prepare these sets, and they shuffle the examples.
"""

import dataclasses
import errno
import os
import pathlib
import tarfile
import zipfile

from absl import logging

from dnas.core import durable
from dnas.core.errors import FieldError, InputError, unreadable
from dnas.core.paths import expanded
from dnas.data.download import Download, alone, fetch, reason_of

CACHE = "DNAS_DOWNLOADS"
"""The environment variable that names the folder of downloads."""


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
    data_dir: the folder, or the folder around it. If it is empty, the files are downloaded into `$DNAS_DOWNLOADS`, by default
      `~/.cache/dnas/data`, unless an earlier call has done so. Earlier versions downloaded into `$TFDS_DATA_DIR/downloads`, by default in
      `~/tensorflow_datasets`; files that are there are read there.

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
  def lacking(folder: pathlib.Path) -> list[Download]:
    return [one for one in published.downloads if not all((folder / name).is_file() for name in _wanted(published, one))]

  cache = expanded(CACHE, os.environ.get(CACHE, "~/.cache/dnas/data"))
  earlier = expanded("TFDS_DATA_DIR", os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")) / "downloads"
  for folder in (cache / published.folder, earlier / published.folder):
    if not lacking(folder):
      return folder
  folder, download = cache / published.folder, published.downloads[0]
  try:
    with alone(cache):
      for download in lacking(folder):
        path = fetch(download, cache)
        durable.make_folder(folder)
        names = _wanted(published, download)
        _unpack(path, folder, names) if _is_archive(download) else durable.write(folder / download.name, path.read_bytes(), shared=True)
        path.unlink()
  except Exception as e:  # requests, the archive readers and the file system fail in many ways, with one mend
    reason = reason_of(e)
    here = reason in [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)]
    first = "free space or set permissions there" if here else "connect to the network"
    hint = f"{first}, or give the folder '{published.folder}' by --data.data_dir"
    raise InputError(f"Cannot download {download.url} into {cache} ({reason}); {hint}.") from e
  return folder


def _is_archive(download: Download) -> bool:
  return download.name.endswith((".tar.gz", ".zip"))


def _wanted(published: Published, download: Download) -> tuple[str, ...]:
  """Returns the files that come from a download."""
  return published.files if _is_archive(download) else (download.name,)


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
