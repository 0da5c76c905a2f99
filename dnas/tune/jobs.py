"""Jobs, the queue where they wait for a worker, and how they end; see `executors`."""

import abc
import collections
import itertools
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, Self


class Done(NamedTuple):
  """A job that has ended.

  Attributes:
    job: number of the job, from `submit`.
    value: the function's return value.
    error: the exception that the function raised, if it raised one.
    died: whether the worker died during the job.
  """

  job: int
  value: Any = None
  error: Exception | None = None
  died: bool = False


def nothing() -> None:
  """Does nothing; the default of `prepare`."""


class Job(NamedTuple):
  """A job as it is sent to a worker. `content` is the pickled function and arguments; it is unpickled after `prepare` has run."""

  prepare: Callable[[], None]
  content: bytes

  def run(self) -> tuple[Any, Exception | None]:
    """Runs the job and returns (return value, None), or (None, exception)."""
    try:
      self.prepare()
      function, arguments = pickle.loads(self.content)
      return function(*arguments), None
    except Exception as e:
      return None, e


class Queue(abc.ABC):
  """The queue of waiting jobs that both executors share; a context manager."""

  def __init__(self, workers: int, prepare: Callable[[], None], dumps: Callable[[Any], bytes]):
    self.workers, self._prepare, self._dumps = workers, prepare, dumps
    self._waiting: collections.deque[tuple[int, Job]] = collections.deque()
    self._numbers = itertools.count()

  def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
    """See `executors.Executor`."""
    number = next(self._numbers)
    self._waiting.append((number, Job(self._prepare, self._dumps((function, arguments)))))
    self._serve()
    return number

  @abc.abstractmethod
  def _serve(self) -> None:
    """Gives waiting jobs to free workers."""

  @abc.abstractmethod
  def close(self) -> None:
    """See `executors.Executor`."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()
