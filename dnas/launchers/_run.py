"""The frame of every run of a launcher: folder, checkpoints, writers, display, signals."""

import contextlib
import ctypes
import dataclasses
import hashlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import jax

from dnas.core import devices, json_files, program_cache
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.extras import can_import
from dnas.core.memory import Estimate
from dnas.core.paths import expanded
from dnas.data.base import Dataset
from dnas.launchers._flags import Options, require_workdir
from dnas.run import loop, services
from dnas.run.checkpoint import Checkpoints
from dnas.run.console import Display
from dnas.run.profile import Profiler
from dnas.run.run_folder import RunFolder
from dnas.run.stop import StopRequest
from dnas.run.writers import TensorBoardWriter, Writer, Writers
from dnas.search.gradient.stages import Start
from dnas.search.gradient.workload import Workload
from dnas.supernet.limits import Limit

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of every run.

  Attributes:
    kept: name to content of the files that the run depends on.
    about: lines about data and network, for the person.
    estimate: a lower estimate of the memory of the run, where there is one.
  """

  kept: Mapping[str, str]
  about: str
  estimate: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class SearchParts(Parts):
  """The parts of a search on images or text.

  Attributes:
    workload: supernet and data.
    start: what the supernet begins with, where the search is a later stage.
    restart: configuration of another seed to what its supernet begins with, then.
    limit: the limit on the expected cost, if there is one.
  """

  workload: Workload = dataclasses.field(kw_only=True)
  start: Start | None = None
  restart: Callable[[Any], Start] | None = None
  limit: Limit | None = None


@dataclasses.dataclass(frozen=True)
class TrainParts(Parts):
  """The parts of a training on images or text.

  Attributes:
    task: what to train.
    dataset: the data, for their test split.
    describe: final state to the numbers that the run ends in, its number of weights among them.
    tester: final state to the test, a function of the test split that returns further numbers. It prepares what the test needs of other
      data, and runs before the test split is opened.
    ends: maps the history to whether the training has come to its end before its last epoch.
    grown: arrays of the state that are longer in a training of more epochs (`Checkpoints.restore`).
  """

  task: loop.Task = dataclasses.field(kw_only=True)
  dataset: Dataset = dataclasses.field(kw_only=True)
  describe: Callable[[Any], dict[str, float]] = dataclasses.field(kw_only=True)
  tester: Callable[[Any], Callable[[Any], dict[str, float]]] = dataclasses.field(kw_only=True)
  ends: Callable[[list[loop.HistoryRecord]], bool] = lambda history: False
  grown: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Folder(Protocol):
  """What a run needs of its folder. `RunFolder` is one, and so are the folders of several searches (`_seeds.SeedFolders`)."""

  path: pathlib.Path
  created: float
  checkpoints: pathlib.Path

  def sync(self, history: Sequence[loop.HistoryRecord]) -> None:
    """See `RunFolder.sync`."""

  def append(self, record: loop.HistoryRecord) -> None:
    """See `RunFolder.append`."""


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of malloc.h


def reuse_memory() -> None:
  """Makes a CPU use the memory of one step again in the next. Call it before JAX computes anything.

  The programs of a step take and free gigabytes, and fresh pages from the kernel took up to a third of the time of a step. glibc can keep
  freed memory, except for what is larger than 64 MB and was taken by a thread other than the first. So JAX computes in the thread that
  calls a program, and not in threads of its own. A process keeps its largest memory until it ends.
  """
  jax.config.update("jax_cpu_enable_async_dispatch", False)
  libc = ctypes.CDLL(None)
  if hasattr(libc, "gnu_get_libc_version"):
    for parameter, value in ((_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26), (_MMAP_MAX, 0)):
      libc.mallopt(parameter, value)


def prepare(options: Options) -> None:
  """Sets up memory, the folder of compiled programs, devices and processes. Raises InputError for one that cannot be used."""
  if options.deterministic:
    devices.make_deterministic()
  reuse_memory()
  program_cache.use(options.compilation_cache, 1e9 * options.compilation_cache_gb)
  if options.num_processes > 1:
    devices.connect(options.coordinator, options.num_processes, options.process_id)
    if not devices.is_first():
      sys.stdout = open(os.devnull, "w")  # noqa: SIM115, since it is for the rest of the process
  devices.use(options.devices)
  services.check(options.metrics_to)


def read_start(start_from: str, begun: bool, read: Callable[[pathlib.Path], R]) -> R | None:
  """Returns what `read` makes of the folder in --start_from; None if the folder is gone and the run that starts from it has begun.

  Raises:
    FieldError: if `read` raises an InputError.
  """
  folder = expanded("--start_from", start_from)
  if begun and not folder.exists():
    return None
  try:
    return read(folder)
  except InputError as e:
    raise FieldError("start_from", start_from, str(e).removesuffix(".")) from None


VOLATILE = ("data.stream_workers",)
"""Fields that may change when a run is resumed, since they change no result."""


@contextlib.contextmanager
def open_folder(
  options: Options,
  launcher: str,
  config: Mapping[str, Any],
  parts: Parts,
  defaults: Mapping[str, Any],
  volatile: Container[str] = (),
  what: str = "",
) -> Iterator[RunFolder]:
  """Opens the run's folder. If several processes share the run, all but the first get temporary folders.

  Args:
    options: of the launcher.
    launcher: its name.
    config: see `RunFolder.open`.
    parts: what the run is built of.
    defaults: see `RunFolder.open`.
    volatile: see `RunFolder.open`.
    what: what the run does, for the first line that it prints.

  Raises:
    InputError: as `RunFolder.open` and `RunFolder.keep` do.
  """
  require_workdir(options)
  with contextlib.ExitStack() as stack:
    workdir = expanded("--workdir", options.workdir)
    own = workdir if devices.is_first() else stack.enter_context(tempfile.TemporaryDirectory())
    folder = stack.enter_context(RunFolder.open(own, launcher, config, volatile, defaults))
    devices.meet()  # The others make checkpoints in the folder of the first, which must have found it to be of this run.
    folder.checkpoints = workdir.absolute() / "checkpoints"
    for name, text in parts.kept.items():
      folder.keep(name, text)
    if what:
      print(f"{what}; results in {workdir}", flush=True)
    if parts.about:
      print(parts.about, flush=True)
    yield folder


def length_of(task: loop.Task) -> str:
  """Returns the length of a task for the person: '50 epochs of 391 steps', with 'about' if epochs differ."""
  steps = task.end_of_epoch(task.epochs)
  about = "" if steps == task.epochs * task.end_of_epoch(1) else "about "
  return f"{counted(task.epochs, 'epoch')} of {about}{counted(round(steps / task.epochs), 'step')}"


def writer_of(folder: Folder, options: Options, say: Callable[[str], None] = print) -> Writer:
  """Returns the writer of a run's curves. It writes all of them anew, and none for a run that has ended.

  Raises:
    InputError: if TensorBoard's folder cannot be written, or a service cannot be used.
  """
  path, ended = folder.path / "tensorboard", (folder.path / "result.json").exists()
  writers: list[Writer] = []
  if can_import("tensorboardX") and not (ended and path.exists()):
    writers.append(TensorBoardWriter(path, purge_step=0))
  if options.metrics_to and devices.is_first() and not ended:
    recorded = json_files.read_object(folder.path / "config.json", "give the folder of a run", {"config": dict})["config"]
    identity = hashlib.sha256(f"{folder.path.absolute()} {folder.created}".encode(errors="replace")).hexdigest()[:16]
    about = services.About(identity, folder.path.name, recorded, str(folder.path))
    writers += [services.opened(name, about, say) for name in options.metrics_to]
  return Writers(writers)


def run(
  task: loop.Task,
  folder: Folder,
  options: Options,
  early_stop: Callable[[list[loop.HistoryRecord]], bool] = lambda history: False,
  grown: Mapping[str, float] = MappingProxyType({}),
) -> loop.Position:
  """Trains a task to its end or early stop, or resumes it, and keeps everything in its folder. For `grown` see `Checkpoints.restore`.

  Raises:
    InputError, loop.NonFiniteLoss, loop.Stopped: as `loop.run` does.
  """
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, options.keep_checkpoints))
    position = loop.restore(task, checkpoints, grown)
    folder.sync(position.history)
    writer = stack.enter_context(contextlib.closing(writer_of(folder, options)))
    for record in position.history:
      writer.write(record["step"], record["metrics"], folder.created + record["seconds"])
    total = task.end_of_epoch(task.epochs)
    display = stack.enter_context(Display(total, task.epochs, position.step, position.history))
    if not can_import("tensorboardX"):
      display.say("no curves for TensorBoard: tensorboardX is not installed; pip install tensorboardX, and the same command adds them")
    if position.step:
      display.say(f"resumed after step {position.step} of {total} in {folder.path}")
    if position.step < total and not early_stop(position.history):
      display.compiling()
    stop = stack.enter_context(StopRequest(display.say))
    on_step = display.step
    if options.profile_steps:
      first, last = options.profile_steps
      on_step = stack.enter_context(Profiler(folder.path / "profile", first, last, on_step)).step
    settings = {"save_every_steps": options.save_every_steps, "early_stop": early_stop}
    for record in loop.run(task, position, checkpoints, stop=stop, on_step=on_step, **settings):
      folder.append(record)
      writer.write(record["step"], record["metrics"], folder.created + record["seconds"])
      display.epoch(record)
  return position
