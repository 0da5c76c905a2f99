"""Checkpoints: the state of a run on disk, so that a killed run goes on to the bit.

Orbax writes them in the background, into a temporary folder that is renamed when it is whole; so a kill at any moment leaves the
checkpoint before it. One checkpoint is two items: `leaves`, all arrays of the state end to end as one array of bytes (one write, and
any dtype), and `contents`, JSON with the path, shape and dtype of every leaf, what the caller adds, and digests of both. The digests
are verified when a checkpoint is read: a flipped byte is found, and never trained on.
"""

import contextlib
import hashlib
import json
import logging as python_logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from dnas.core import devices
from dnas.core.errors import InputError, first_line

State = Any
"""A tree of arrays with at least one element; jax.Array and numpy.ndarray leaves come back as what they were."""


class Restored(NamedTuple):
  """What a checkpoint held: the step it was saved with, the state, and what the caller added."""

  step: int
  state: State
  extra: dict[str, Any]


class Checkpoints:
  """The checkpoints of one run, in a folder of their own; a context manager that waits for the last save.

  Attributes:
    folder: where they are.
    latest: step of the newest checkpoint that is known to be whole, or None.
  """

  def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
    """Opens the folder, makes it if needed, and removes what killed saves left in it.

    Args:
      folder: a folder that holds nothing else.
      keep: how many checkpoints to keep; with two, a damaged one costs no more than the steps since the one before.

    Raises:
      InputError: if the folder cannot be made or listed.
    """
    python_logging.getLogger("absl").addFilter(_not_from_orbax)
    self.folder, self.latest = pathlib.Path(folder).absolute(), None
    self._saving: int | None = None
    options = ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy.LatestN(keep),
      cleanup_tmp_directories=True,
      save_root_metadata=False,
    )
    try:
      self._manager = ocp.CheckpointManager(self.folder, item_names=("leaves", "contents"), options=options)
    except OSError as e:
      raise InputError(f"checkpoint folder {folder} cannot be used ({_cause(e)}); give another --workdir.") from None

  def save(self, step: int, state: State, extra: Mapping[str, Any]) -> None:
    """Copies the state to the host and begins to write it; returns before it is written.

    Args:
      step: a number above that of every checkpoint before.
      state: the tree of arrays; it may be donated or changed afterwards.
      extra: what JSON can hold; it may be changed afterwards.

    Raises:
      InputError: if this save, or the one before, fails, for instance on a full disk.
    """
    self.wait()
    contents, leaves = _pack(state, extra)
    leaves = devices.spread(leaves)
    self._saving = step
    try:
      items = ocp.args.Composite(leaves=ocp.args.StandardSave({"bytes": leaves}), contents=ocp.args.JsonSave(contents))
      self._manager.save(step, args=items, force=True)
    except (OSError, ValueError, RuntimeError) as e:
      raise self._failure(e) from None

  def wait(self) -> None:
    """Blocks until the last save is on disk. Raises InputError if it failed."""
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError, RuntimeError) as e:
      raise self._failure(e) from None
    if self._saving is not None:
      self.latest, self._saving = self._saving, None

  def restore(self, like: State) -> Restored | None:
    """Returns the newest whole checkpoint, or None where there is none.

    A damaged checkpoint is named in a warning and the one before it is used; the damaged ones are then set aside as `STEP.damaged`,
    since their steps will be saved again.

    Args:
      like: a tree with the structure, shapes, dtypes and placement of the state; its values are not used.

    Raises:
      InputError: if every checkpoint is damaged, or the newest whole one is of another state than `like`.
    """
    damaged = []
    for step in sorted((int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()), reverse=True):
      path = self.folder / str(step)
      try:
        contents, leaves = self._read(step)
      except Exception as e:  # Orbax and TensorStore raise anything on damaged bytes, and each one means the same here
        logging.warning("checkpoint %s of step %d is damaged (%s); the one before it is tried.", path, step, _cause(e))
        damaged.append(path)
        continue
      _check_structure(contents["leaves"], like, path)
      self._set_aside(damaged)
      self.latest = step
      return Restored(step, _unpack(contents["leaves"], leaves, like), contents["extra"])
    if damaged:
      raise InputError(
        f"every checkpoint in {self.folder} is damaged; bring back a good copy of one, or delete that folder to begin the run anew."
      )
    return None

  def close(self) -> None:
    """Waits for the last save and ends the background work. Raises InputError if that save failed."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(OSError, ValueError, RuntimeError):  # a failed save that was told of already, once more
        self._manager.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    try:
      self.close()
    except InputError as e:
      if error is None:
        raise
      logging.warning("%s", e)  # the error on its way out is the news

  def _read(self, step: int) -> tuple[dict[str, Any], np.ndarray]:
    contents = self._manager.restore(step, args=ocp.args.Composite(contents=ocp.args.JsonRestore()))["contents"]
    if contents.pop("digest") != _digest_of_json(contents):
      raise ValueError("the digest of its contents does not match")
    like = {"bytes": np.empty(contents["saved_size"], np.uint8)}
    leaves = self._manager.restore(step, args=ocp.args.Composite(leaves=ocp.args.StandardRestore(like)))["leaves"]["bytes"]
    leaves = leaves[: contents["size"]]
    if contents["digest_of_leaves"] != _digest(leaves):
      raise ValueError("the digest of its arrays does not match")
    return contents, leaves

  def _set_aside(self, damaged: list[pathlib.Path]) -> None:
    for path in damaged if devices.is_first() else ():
      aside = path.with_name(f"{path.name}.damaged")
      shutil.rmtree(aside, ignore_errors=True)
      try:
        path.rename(aside)
      except OSError as e:
        raise InputError(f"damaged checkpoint {path} cannot be set aside ({_cause(e)}); delete it.") from None
    self._manager.reload()

  def _failure(self, error: Exception) -> InputError:
    step, self._saving = self._saving, None
    kept = "no earlier one exists" if self.latest is None else f"the last good one, of step {self.latest}, is kept"
    return InputError(
      f"the checkpoint of step {step} cannot be written to {self.folder} ({_cause(error)}); {kept}: mend the cause and give the same "
      "command again to go on."
    )


def _pack(state: State, extra: Mapping[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
  """Returns the JSON contents and all bytes of the state as one array (size,) of uint8, a copy."""
  leaves = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state))]
  packed = np.frombuffer(b"".join(array.tobytes() for _, array in leaves), np.uint8)
  described = [[name, list(array.shape), array.dtype.name] for name, array in leaves]
  sizes = {"size": packed.size, "saved_size": devices.spread_size(packed.size)}
  contents = {"leaves": described, "extra": dict(extra), **sizes, "digest_of_leaves": _digest(packed)}
  contents = json.loads(json.dumps(contents))
  return contents | {"digest": _digest_of_json(contents)}, packed


def _unpack(described: list[list[Any]], packed: np.ndarray, like: State) -> State:
  arrays, offset = {}, 0
  for name, shape, dtype_name in described:
    dtype = jax.numpy.dtype(dtype_name)
    size = math.prod(shape) * dtype.itemsize
    arrays[name] = packed[offset : offset + size].copy().view(dtype).reshape(shape)
    offset += size

  def place(path: tuple[Any, ...], target: Any) -> Any:
    array = arrays[jax.tree_util.keystr(path)]
    if not isinstance(target, jax.Array):
      return array
    return devices.place(array, target)

  return jax.tree_util.tree_map_with_path(place, like)


def _check_structure(described: list[list[Any]], like: State, path: pathlib.Path) -> None:
  saved = {name: (tuple(shape), dtype) for name, shape, dtype in described}
  wanted = {jax.tree_util.keystr(key): (tuple(leaf.shape), leaf.dtype.name) for key, leaf in jax.tree_util.tree_leaves_with_path(like)}
  for name in [*wanted, *saved]:
    if saved.get(name) != wanted.get(name):
      old, new = (f"{known[name][1]} of shape {known[name][0]}" if name in known else "nothing" for known in (saved, wanted))
      raise InputError(
        f"checkpoint {path} is of another state: at {name} it holds {old} where this run has {new}; "
        "give the flags that it was made with, or another --workdir."
      )


def _digest_of_json(value: Any) -> str:
  return _digest(json.dumps(value, sort_keys=True).encode())


def _digest(data: Any) -> str:
  return hashlib.sha256(data).hexdigest()


def _cause(error: Exception) -> str:
  """Returns what went wrong in a few words; TensorStore's messages hide the number of the system's error."""
  hidden = re.search(r"os_error_code='(\d+)'", str(error))
  number = error.errno if isinstance(error, OSError) and error.errno else int(hidden[1]) if hidden else None
  return os.strerror(number).lower() if number else first_line(error)


def _not_from_orbax(record: python_logging.LogRecord) -> bool:
  """A filter for absl's logger: Orbax reports every step of a save, and tracebacks of errors that it also raises."""
  return f"{os.sep}orbax{os.sep}" not in record.pathname
