"""Checkpoints: the state of a run on disk. A killed run resumes bit-identically.

Orbax writes a checkpoint in the background, as STEP.unsynced. Then STEP.unsynced is synced and renamed to STEP, the folder is synced, and
older checkpoints are removed. So a kill or a power cut at any moment leaves the previous checkpoint. A checkpoint has two items. `leaves`
holds all arrays of the state, concatenated into one array of bytes (one write, and any dtype). `contents` is JSON with the path, shape and
dtype of every leaf, the caller's extra data, and digests of both. `restore` verifies the digests, so a flipped byte is detected.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import logging as python_logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from concurrent import futures
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from dnas.core import devices, durable
from dnas.core.errors import InputError, first_line

State = Any
"""A tree of arrays with at least one element. `restore` returns jax.Array leaves as jax.Array and numpy.ndarray leaves as numpy.ndarray."""


class Restored(NamedTuple):
  """The contents of a checkpoint: the step, the state, and the caller's extra data."""

  step: int
  state: State
  extra: dict[str, Any]


_STEP = re.compile(r"0|[1-9]\d*", re.ASCII)

_LEFT_OVER = re.compile(r"\d+\.(unsynced|removed|(unsynced\.)?orbax-checkpoint-tmp(-\d+)?)", re.ASCII)
"""Names that a killed save or removal leaves behind. Nothing else is ever cleaned up."""

_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""System errors that mean that a checkpoint is damaged. Any other system error means that it cannot be read at present."""


class Checkpoints:
  """The checkpoints of one run, in a folder of their own; a context manager that waits for the last save.

  Attributes:
    folder: the folder of the checkpoints.
    latest: step of the newest checkpoint that is known to be complete, or None.
  """

  def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
    """Opens the folder, creates it if needed, and removes the remains of killed saves.

    Args:
      folder: a folder that holds nothing else.
      keep: how many checkpoints to keep. With two, a damaged newest checkpoint costs only the steps since the previous one.

    Raises:
      InputError: if the folder cannot be created or listed.
    """
    python_logging.getLogger("absl").addFilter(_not_from_orbax)
    self.folder, self.latest, self._keep = pathlib.Path(folder).absolute(), None, keep
    self._saving: int | None = None
    self._commit: futures.Future[None] | None = None
    self._background = futures.ThreadPoolExecutor(1, "checkpoints")
    try:
      check_encodable(self.folder)
      durable.make_folder(self.folder)
      for path in list(self.folder.iterdir()) if devices.is_first() else ():
        if _LEFT_OVER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
          shutil.rmtree(path)
    except OSError as e:
      raise InputError(f"checkpoint folder {folder} cannot be used ({_cause(e)}); correct that, or give another --workdir.") from None
    self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler("leaves", "contents"))

  def save(self, step: int, state: State, extra: Mapping[str, Any]) -> None:
    """Copies the state to the host and starts to write it. Returns before the write is complete.

    Args:
      step: the step number; above those of all earlier checkpoints.
      state: the tree of arrays; it may be donated or changed afterwards.
      extra: further data that JSON can hold; it may be changed afterwards.

    Raises:
      InputError: if this save or the previous one fails, for instance on a full disk.
    """
    self.wait()
    contents, leaves = _pack(state, extra)
    leaves = devices.spread(leaves)
    self._saving = step
    try:
      items = ocp.args.Composite(leaves=ocp.args.StandardSave({"bytes": leaves}), contents=ocp.args.JsonSave(contents))
      self._checkpointer.save(self.folder / f"{step}.unsynced", args=items, force=True)
    except (OSError, ValueError, RuntimeError) as e:
      raise self._failure(e) from None
    self._commit = self._background.submit(self._finish, step)

  def wait(self) -> None:
    """Blocks until the last save is synced to disk. Raises InputError if that save failed."""
    commit, self._commit = self._commit, None
    try:
      if commit is not None:
        commit.result()
    except (OSError, ValueError, RuntimeError) as e:
      raise self._failure(e) from None
    if self._saving is not None:
      self.latest, self._saving = self._saving, None

  def restore(self, like: State, part: bool = False, grown: Mapping[str, float] = MappingProxyType({})) -> Restored | None:
    """Returns the newest undamaged checkpoint, or None if there are no checkpoints.

    A damaged checkpoint is logged as a warning, and the previous one is tried. Once an undamaged one is found, the damaged ones are renamed
    to `STEP.damaged`, since the run will save their steps again.

    Args:
      like: a tree with the structure, shapes, dtypes and placement of the state; its values are not used.
      part: whether `like` is a part of the state; the rest is left out.
      grown: path to filling of every array whose first axis may have become longer since, such as {".losses": math.inf}.

    Raises:
      InputError: if every checkpoint is damaged, one cannot be read, or the newest undamaged one does not match the structure of `like`.
    """
    damaged = []
    for step in reversed(self._steps()):
      path = self.folder / str(step)
      try:
        _check_readable(path)
        contents, leaves = self._read(step)
      except Exception as e:  # Orbax and TensorStore raise many kinds of errors on damaged bytes
        if (number := _system_error(e)) not in (None, *_DAMAGE) or isinstance(e, MemoryError):
          cause = os.strerror(number).lower() if number else "out of memory"
          raise InputError(f"checkpoint {path} cannot be read ({cause}); correct that and give the same command again.") from None
        logging.warning("checkpoint %s of step %d is damaged (%s); the checkpoint before it is tried.", path, step, _cause(e))
        damaged.append(path)
        continue
      _check_structure(contents["leaves"], like, path, part, grown)
      self._set_aside(damaged)
      self.latest = step
      return Restored(step, _unpack(contents["leaves"], leaves, like, grown), contents["extra"])
    if damaged:
      raise InputError(
        f"every checkpoint in {self.folder} is damaged; restore a good copy of one, or delete that folder to begin the run anew."
      )
    return None

  def close(self) -> None:
    """Waits for the last save and ends the background work. Raises InputError if that save failed."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(OSError, ValueError, RuntimeError):  # of a failed save that was reported before
        self._checkpointer.close()
      self._background.shutdown()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    try:
      self.close()
    except InputError as e:
      if error is None:
        raise
      logging.warning("%s", e)  # the exception of the `with` block matters more

  def _finish(self, step: int) -> None:
    """Waits until Orbax has written a checkpoint, syncs it, gives it its final name, and removes the oldest checkpoints."""
    self._checkpointer.wait_until_finished()
    if not devices.is_first():
      return
    path = self.folder / f"{step}.unsynced"
    durable.sync_tree(path)
    path.rename(self.folder / str(step))
    durable.sync_folder(self.folder)
    for old in self._steps()[: -self._keep]:
      removed = (self.folder / str(old)).rename(self.folder / f"{old}.removed")  # atomic, unlike the removal file by file
      shutil.rmtree(removed)

  def _steps(self) -> list[int]:
    try:
      return sorted(int(path.name) for path in self.folder.iterdir() if _STEP.fullmatch(path.name))
    except OSError as e:
      raise InputError(f"checkpoint folder {self.folder} cannot be read ({_cause(e)}); correct that, such as its permissions.") from None

  def _read(self, step: int) -> tuple[dict[str, Any], np.ndarray]:
    path = self.folder / str(step)
    contents = self._checkpointer.restore(path, args=ocp.args.Composite(contents=ocp.args.JsonRestore()))["contents"]
    if contents.pop("digest") != _digest_of_json(contents):
      raise ValueError("the digest of its contents does not match")
    like = {"bytes": np.empty(contents["saved_size"], np.uint8)}
    leaves = self._checkpointer.restore(path, args=ocp.args.Composite(leaves=ocp.args.StandardRestore(like)))["leaves"]["bytes"]
    leaves = leaves[: contents["size"]]
    contents["leaves"] = _named_as_now(contents["leaves"])
    if contents["digest_of_leaves"] != _digest(leaves):
      raise ValueError("the digest of its arrays does not match")
    return contents, leaves

  def _set_aside(self, damaged: list[pathlib.Path]) -> None:
    for path in damaged if devices.is_first() else ():
      names = (f"{path.name}.damaged{f'.{number}' if number else ''}" for number in itertools.count())
      aside = next(aside for name in names if not (aside := path.with_name(name)).exists())
      try:
        path.rename(aside)
      except OSError as e:
        raise InputError(f"damaged checkpoint {path} cannot be set aside ({_cause(e)}); delete it.") from None

  def _failure(self, error: Exception) -> InputError:
    step, self._saving = self._saving, None
    kept = "no earlier one exists" if self.latest is None else f"the last good one, of step {self.latest}, is kept"
    return InputError(
      f"the checkpoint of step {step} cannot be written to {self.folder} ({_cause(error)}); {kept}: correct the cause and give the same "
      "command again to go on."
    )


_EARLIER_NAMES = {".allowed[": ".op_mask["}
"""Former to present beginnings of the names of leaves, so that older run folders can be resumed."""


def _named_as_now(described: list[list[Any]]) -> list[list[Any]]:
  """Returns the leaves of a checkpoint, those of earlier versions by their present names."""
  found = []
  for name, *rest in described:
    old = next((old for old in _EARLIER_NAMES if name.startswith(old)), "")
    found.append([_EARLIER_NAMES.get(old, "") + name.removeprefix(old), *rest])
  return found


def _pack(state: State, extra: Mapping[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
  """Returns the JSON contents, and a copy of all bytes of the state as one uint8 array, [size]."""
  leaves = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state))]
  packed = np.frombuffer(b"".join(array.tobytes() for _, array in leaves), np.uint8)
  described = [[name, list(array.shape), array.dtype.name] for name, array in leaves]
  sizes = {"size": packed.size, "saved_size": devices.spread_size(packed.size)}
  contents = {"leaves": described, "extra": dict(extra), **sizes, "digest_of_leaves": _digest(packed)}
  contents = json.loads(json.dumps(contents))
  return contents | {"digest": _digest_of_json(contents)}, packed


def _unpack(described: list[list[Any]], packed: np.ndarray, like: State, grown: Mapping[str, float]) -> State:
  arrays, offset = {}, 0
  for name, shape, dtype_name in described:
    dtype = jax.numpy.dtype(dtype_name)
    size = math.prod(shape) * dtype.itemsize
    arrays[name] = packed[offset : offset + size].copy().view(dtype).reshape(shape)
    offset += size

  def place(path: tuple[Any, ...], target: Any) -> Any:
    name = jax.tree_util.keystr(path)
    array = arrays[name]
    if name in grown:
      filling = np.full((len(target) - len(array), *array.shape[1:]), grown[name], array.dtype)
      array = np.concatenate([array, filling])
    if not isinstance(target, jax.Array):
      return array
    return devices.place(array, target)

  return jax.tree_util.tree_map_with_path(place, like)


def _check_structure(
  described: list[list[Any]], like: State, path: pathlib.Path, part: bool, grown: Mapping[str, float]
) -> None:
  saved = {name: (tuple(shape), dtype) for name, shape, dtype in described}
  wanted = {jax.tree_util.keystr(key): (tuple(leaf.shape), leaf.dtype.name) for key, leaf in jax.tree_util.tree_leaves_with_path(like)}
  for name in grown:
    if name in saved and name in wanted and saved[name][0][:1] <= wanted[name][0][:1]:
      saved[name] = (wanted[name][0][:1] + saved[name][0][1:], saved[name][1])
  for name in wanted if part else [*wanted, *saved]:
    if saved.get(name) != wanted.get(name):
      old, new = (f"{known[name][1]} of shape {known[name][0]}" if name in known else "nothing" for known in (saved, wanted))
      raise InputError(
        f"checkpoint {path} is of another run: at {name} it holds {old} and this run has {new}; "
        "give the flags of that run, or another --workdir."
      )


def _digest_of_json(value: Any) -> str:
  return _digest(json.dumps(value, sort_keys=True).encode())


def _digest(data: Any) -> str:
  return hashlib.sha256(data).hexdigest()


def check_encodable(path: pathlib.Path) -> None:
  """Raises InputError for a path that cannot be encoded in this locale. Orbax could not use such a path."""
  try:
    os.fspath(path).encode()
  except UnicodeEncodeError:
    hint = "set a locale that can, such as LC_ALL=C.UTF-8, or give another --workdir"
    raise InputError(f"the locale cannot encode the name of the folder {os.fspath(path)!a}; {hint}.") from None


def _check_readable(path: pathlib.Path) -> None:
  """Opens every file of a checkpoint. Raises OSError if one cannot be opened; Orbax would report that file as missing."""

  def fail(error: OSError) -> None:
    raise error

  for folder, _, names in os.walk(path, onerror=fail):
    for name in names:
      os.close(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK))


def _system_error(error: BaseException) -> int | None:
  """Returns the errno of an error, or None. TensorStore gives it only in its message."""
  hidden = re.search(r"os_error_code='(\d+)'", str(error))
  return error.errno if isinstance(error, OSError) and error.errno else int(hidden[1]) if hidden else None


def _cause(error: Exception) -> str:
  """Returns the cause of an error in a few words."""
  number = _system_error(error)
  return os.strerror(number).lower() if number else first_line(error)


def _not_from_orbax(record: python_logging.LogRecord) -> bool:
  """A filter for absl's logger that drops the records of Orbax: progress of every save, and tracebacks of errors that it also raises."""
  return f"{os.sep}orbax{os.sep}" not in record.pathname
