"""The folders of searches side by side: one for the run, and in it one for every seed, as a single search would write it."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from dnas.core import config as config_lib
from dnas.launchers import _flags, _run
from dnas.launchers.configs import ImageSearchConfig, LanguageSearchConfig
from dnas.run.loop import HistoryRecord
from dnas.run.run_folder import RunFolder
from dnas.run.writers import Writer
from dnas.search.gradient.seeds import SeedsTask


def configs_of(config: ImageSearchConfig | LanguageSearchConfig) -> list[ImageSearchConfig | LanguageSearchConfig]:
  """Returns the configuration of each search; 'num_seeds' tells its folder from that of a search that ran alone."""
  return [dataclasses.replace(config, seed=config.seed + index) for index in range(config.num_seeds)]


class SeedFolders:
  """A run folder for a `SeedsTask`; its searches follow their parts of every record.

  Attributes:
    path: the folder of the run.
    created: when it was made, in seconds since 1970.
    checkpoints: where the checkpoints of all go.
    folders: the folder of every search.
  """

  def __init__(self, folder: RunFolder, folders: Sequence[RunFolder], writers: Sequence[Writer], task: SeedsTask):
    """Use `open`."""
    self.path, self.created, self.checkpoints, self.folders = folder.path, folder.created, folder.checkpoints, tuple(folders)
    self._folder, self._writers, self._task = folder, writers, task
    self._history: list[HistoryRecord] = []

  @classmethod
  @contextlib.contextmanager
  def open(
    cls,
    folder: RunFolder,
    configs: Sequence[ImageSearchConfig | LanguageSearchConfig],
    kept: Mapping[str, str],
    task: SeedsTask,
    options: _flags.Options,
  ) -> Iterator["SeedFolders"]:
    """Opens the folders of the searches, seed_0000 and so on by their seed. Raises InputError as `RunFolder.open` does."""
    with contextlib.ExitStack() as stack:
      folders, writers = [], []
      for config in configs:
        path = folder.path / f"seed_{config.seed:04d}"
        folders.append(stack.enter_context(RunFolder.open(path, "search", config.recorded(), defaults=config_lib.defaults(config))))
        for name, text in kept.items():
          folders[-1].keep(name, text)
        writers.append(stack.enter_context(contextlib.closing(_run.writer_of(folders[-1], options))))
      yield cls(folder, folders, writers, task)

  def sync(self, history: Sequence[HistoryRecord]) -> None:
    """See `RunFolder.sync`."""
    self._history = list(history)
    self._folder.sync(history)
    for index, (folder, writer) in enumerate(zip(self.folders, self._writers, strict=True)):
      records = self._task.history(index, history)
      folder.sync(records)
      for record in records:
        writer.write(record["step"], record["metrics"], self.created + record["seconds"])

  def append(self, record: HistoryRecord) -> None:
    """See `RunFolder.append`."""
    self._history.append(record)
    self._folder.append(record)
    for index, (folder, writer) in enumerate(zip(self.folders, self._writers, strict=True)):
      records = self._task.history(index, self._history)
      if len(records) == len(self._history):
        folder.append(records[-1])
        writer.write(records[-1]["step"], records[-1]["metrics"], self.created + records[-1]["seconds"])
