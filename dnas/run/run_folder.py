"""The folder of one run: its configuration, its history, and the lock that keeps a second process out.

    config.json            launcher, configuration, versions, command, modules with units of the user and their digests; written once
    metrics.jsonl          one line per epoch
    architecture.jsonl     one line per epoch: the mixture weights
    genotypes/             one file per epoch: epoch_0001.json
    vocabulary.txt         one word per line, in a run on text
    network.json           choices, arrays and data, in a search in a network of the user's own
    data.json              classes, shape and statistics, in a training on images; a digest too, in any run on images of the user's own
    genotype.json          the final architecture
    result.json            the result of the run
    result_VALUE.json      the result before the run was made longer; VALUE is the former number of epochs
    test_readings.jsonl    one line per reading of a test set (`readings`)
    failure.txt            why the run failed, until it goes on
    report.html            the page of the run (`report.pages`)
    checkpoints/ pictures/
    .lock                  held by the process that writes

The files follow the checkpoint. A line is appended when an epoch ends; after a kill, `sync` rewrites the files to match the checkpoint. All
files survive a power cut (`dnas.core.durable`). A file with the right contents is not written again, so repeating a finished run changes
nothing. Only files with the names above are ever overwritten or removed.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import jax
from absl import logging

from dnas import __version__
from dnas.core import config as config_lib
from dnas.core import durable, json_files
from dnas.core.errors import InputError, cause_of, counted, first_line, shown
from dnas.core.registry import foreign_digests
from dnas.run import folder_lock
from dnas.run.checkpoint import check_encodable
from dnas.run.loop import Stopped

_FAILURE = "failure.txt"
_GENOTYPE = re.compile(r"epoch_\d{4,}\.json|\.epoch_\d{4,}\.json\.tmp", re.ASCII)
"""Names of the files in `genotypes/`, and of the temporary files that a killed writer leaves there."""
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunFolder:
  """The folder of one run, locked until it is closed; a context manager.

  Attributes:
    path: the folder.
    created: time of creation, in seconds since 1970.
    checkpoints: the folder for `Checkpoints`.
  """

  def __init__(self, path: pathlib.Path, created: float, lock: int | None):
    """Use `open` instead. `lock` is the descriptor of the locked file, or None if the file system cannot lock."""
    self.path, self.created, self._lock = path, created, lock
    self.checkpoints = path / "checkpoints"

  @classmethod
  def open(
    cls,
    workdir: str | os.PathLike[str],
    launcher: str,
    config: Mapping[str, Any],
    volatile: Container[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
  ) -> "RunFolder":
    """Creates the folder of a new run, or opens the folder of a run to resume.

    Args:
      workdir: the folder, as the user gave it.
      launcher: the name of the program; a folder belongs to one program.
      config: the flattened configuration (`dnas.core.config.flatten`), as JSON can hold it.
      volatile: fields that may change when a run is resumed, since they do not affect its results.
      defaults: values to assume for fields that did not exist when the run was started (`dnas.core.config.defaults`).

    Raises:
      InputError: if the folder cannot be created or written, is in use, belongs to another launcher or configuration, or holds files but
        no run. Existing files are then left unchanged.
    """
    if not os.fspath(workdir).strip():
      raise InputError("--workdir is empty; give the folder of the run.")
    path, config = pathlib.Path(workdir).absolute(), json.loads(json.dumps(dict(config)))
    check_encodable(path)
    with _named(path):
      _check(path, launcher, config, volatile, defaults)
      durable.make_folder(path)
      lock = folder_lock.acquire(path)
    try:
      with _named(path):
        (path / _FAILURE).unlink(missing_ok=True)
        old = _check(path, launcher, config, volatile, defaults)  # again, under the lock: another process may have been first
        if old is None:
          old = _description(launcher, config)
          durable.write(path / "config.json", json.dumps(old, indent=2) + "\n")
        else:
          _warn_of_other_software(path, old)
    except BaseException:
      folder_lock.release(lock)
      raise
    return cls(path, datetime.datetime.fromisoformat(old["created"]).timestamp(), lock)

  @property
  def pictures(self) -> pathlib.Path:
    """The folder for pictures; accessing it creates the folder."""
    with _named(self.path):
      durable.make_folder(self.path / "pictures")
    return self.path / "pictures"

  def keep(self, name: str, text: str) -> None:
    """Writes a file that the run depends on, such as its vocabulary. In a resumed run, the file must already hold the same lines.

    Raises:
      InputError: if the file holds other lines, or cannot be written.
    """
    path = self.path / name
    with _named(path):
      if not path.exists():
        durable.write(path, text)
        return
      old, new = path.read_text(encoding="utf-8", errors="replace").splitlines(), text.splitlines()
    if old != new:
      line = next((line for line, pair in enumerate(zip(old, new, strict=False), 1) if pair[0] != pair[1]), min(len(old), len(new)) + 1)
      raise InputError(
        f"{path} is not the one of this run ({counted(len(old), 'line')} and now {len(new):,}, the first difference in line {line}); "
        "give the data that the run began with, or another --workdir."
      )

  def append(self, record: Mapping[str, Any]) -> None:
    """Appends an epoch's record to the files, after the records of `sync`. Raises InputError if they cannot be written."""
    with _named(self.path):
      for name, line in _lines(record).items():
        durable.append(self.path / name, line)
      self._write_genotype_of(record)

  def sync(self, history: Sequence[Mapping[str, Any]]) -> None:
    """Makes the files hold exactly these records, which are those of the checkpoint that the run resumes from.

    Raises:
      InputError: if the files cannot be written.
    """
    texts = {"metrics.jsonl": "", "architecture.jsonl": ""}
    with _named(self.path):
      for record in history:
        for name, line in _lines(record).items():
          texts[name] += line
        self._write_genotype_of(record)
      for name, text in texts.items():
        if text or (self.path / name).exists():
          durable.write(self.path / name, text)
      known = {_genotype_name(record) for record in history if "genotype" in record}
      for file in list((self.path / "genotypes").glob("*epoch_*")):
        if _GENOTYPE.fullmatch(file.name) and file.name not in known:
          file.unlink()

  def write_genotype(self, genotype: str) -> None:
    """Writes the final architecture, as JSON, to genotype.json. Raises InputError if the file cannot be written."""
    with _named(self.path):
      durable.write(self.path / "genotype.json", genotype + "\n")

  def write_result(self, result: Mapping[str, Any]) -> None:
    """Writes the result of the run to result.json. Raises InputError if the file cannot be written."""
    with _named(self.path):
      durable.write(self.path / "result.json", json.dumps(dict(result), indent=2) + "\n")

  def lengthen(self, field: str, value: int) -> None:
    """Sets the field of config.json that says how long the run is, and puts the result of the shorter run aside.

    The result goes first. So a kill in between leaves a shorter run whose result is missing, which the same command makes longer.

    Raises:
      InputError: if the files cannot be written.
    """
    file, result = self.path / "config.json", self.path / "result.json"
    description = json_files.read_object(file, "restore the file of this run", {"config": dict})
    with _named(self.path):
      if result.exists():
        os.replace(result, self.path / f"result_{description['config'][field]}.json")
        durable.sync_folder(self.path)
      description["config"][field] = value
      durable.write(file, json.dumps(description, indent=2) + "\n")

  def close(self) -> None:
    """Releases the lock. The end of the process releases it too."""
    lock, self._lock = self._lock, None
    folder_lock.release(lock)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
    if isinstance(error, Exception) and not isinstance(error, InputError | Stopped):
      with contextlib.suppress(OSError):
        durable.write(self.path / _FAILURE, f"{type(error).__name__}: {first_line(error)}\n")
    self.close()

  def _write_genotype_of(self, record: Mapping[str, Any]) -> None:
    if "genotype" in record:
      durable.make_folder(self.path / "genotypes")
      durable.write(self.path / "genotypes" / _genotype_name(record), record["genotype"] + "\n")


def failure(path: pathlib.Path) -> str:
  """Returns why a run failed, in one line; an empty text if it did not fail, or went on since."""
  try:
    return (path / _FAILURE).read_text(encoding="utf-8", errors="replace").strip()
  except OSError:
    return ""


def _genotype_name(record: Mapping[str, Any]) -> str:
  return f"epoch_{record['epoch']:04d}.json"


def _lines(record: Mapping[str, Any]) -> dict[str, str]:
  """Returns the line of an epoch for each file of lines, by file name."""
  numbers = {name: record[name] for name in ("epoch", "step", "seconds")}
  lines = {"metrics.jsonl": json.dumps(numbers | dict(record["metrics"])) + "\n"}
  if "mixture" in record:
    lines["architecture.jsonl"] = json.dumps({"epoch": record["epoch"], "mixture": record["mixture"]}) + "\n"
  return lines


def _check(
  path: pathlib.Path, launcher: str, config: Mapping[str, Any], volatile: Container[str], defaults: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns the contents of config.json, or None in a new folder. Raises InputError if the folder is not of this run. Writes nothing."""
  names = sorted(os.listdir(path)) if path.exists() else []
  if "config.json" not in names:
    # A run that was killed at its start leaves the lock file and a temporary configuration file.
    found = [name for name in names if name not in (folder_lock.NAME, durable.temporary(path / "config.json").name)]
    if found:
      raise InputError(
        f"--workdir {path} holds '{found[0]}' and no config.json, so it is not the folder of a run; give an empty or new folder."
      )
    return None
  file, fields = path / "config.json", {"launcher": str, "created": str, "config": dict, "versions": dict}
  hint = "restore the file of this run, or give another --workdir"
  old = json_files.read_object(file, hint, fields)
  try:
    datetime.datetime.fromisoformat(old["created"])
  except ValueError:
    raise InputError(f"{file}: field 'created' is {shown(old['created'])}; {hint}.") from None
  old_launcher, old_config = old["launcher"], old["config"]
  if old_launcher != launcher:
    raise InputError(f"--workdir {path} belongs to a run of '{old_launcher}', and this is '{launcher}'; give another --workdir.")
  missing = {name: value for name, value in defaults.items() if name in config and name not in old_config}
  changed = {name: pair for name, pair in config_lib.differences(old_config | missing, config).items() if name not in volatile}
  if changed:
    gone = ", ".join(f"{name}, which was {shown(before)}, is gone" for name, (before, _) in changed.items() if name not in config)
    told = "; ".join(filter(None, [_listed({name: pair for name, pair in changed.items() if name in config}), gone]))
    raise InputError(f"--workdir {path} belongs to a run of another configuration ({told}); give another --workdir, or the same flags.")
  return old


def _warn_of_other_software(path: pathlib.Path, description: Mapping[str, Any]) -> None:
  changed = config_lib.differences(description["versions"], _versions())
  if changed:
    logging.warning("%s was begun with other software (%s); the run goes on, but its numbers may differ.", path, _listed(changed))
  units = description.get("units")
  known = set(foreign_digests().values())
  other = [name for name, digest in units.items() if digest and digest not in known] if isinstance(units, dict) else []
  if other:
    told = "%s was begun when the file of %s was another; the run goes on, but its numbers may differ."
    logging.warning(told, path, " and of ".join(f"'{name}'" for name in other))


def _listed(changed: Mapping[str, tuple[Any, Any]]) -> str:
  return ", ".join(f"{name}: {before} -> {now}" for name, (before, now) in changed.items())


def _description(launcher: str, config: Mapping[str, Any]) -> dict[str, Any]:
  created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  digests = foreign_digests()
  foreign = {"units": digests} if digests else {}
  return {"launcher": launcher, "created": created, "versions": _versions(), "command": sys.argv, **foreign, "config": dict(config)}


def _versions() -> dict[str, str]:
  """Returns the versions that may change the bits of a result, and the device."""
  device = jax.devices()[0]
  libraries = {name.removesuffix("-checkpoint"): importlib.metadata.version(name) for name in _LIBRARIES}
  return {"dnas": __version__, "python": platform.python_version(), **libraries, "platform": device.platform, "device": device.device_kind}


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
  """Turns an OSError into an InputError of one sentence that names the file."""
  try:
    yield
  except OSError as e:
    hint = "free space or set permissions there, or give another --workdir"
    raise InputError(f"{e.filename or path} cannot be used ({cause_of(e)}); {hint}.") from None
