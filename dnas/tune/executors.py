"""Executors: they run jobs on workers, which are processes of this machine or tasks of a Ray cluster. Both have one interface.

A job is a module-level function with arguments that can be pickled. If a worker dies, only its job is lost. The executor reports the death
and starts a new worker for the next job.
"""

import contextlib
import dataclasses
import glob
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple, Protocol, Self

from dnas.core.config import check, check_at_most, check_name, check_not_negative, check_types
from dnas.core.devices import cores, use_cores
from dnas.core.errors import InputError
from dnas.run.loop import Stopped
from dnas.tune.jobs import Done, Queue, nothing
from dnas.tune.ray_executor import Ray

_GRACE = 60.0  # seconds that a worker has to save and exit after SIGTERM
_LEAST_SHARE = 0.01  # smallest fraction of an accelerator; the memory fraction has three decimals


class Executor(Protocol):
  """Runs jobs; a context manager.

  Attributes:
    workers: how many jobs run at once. Further jobs wait in a queue.
  """

  workers: int

  def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
    """Queues a job for the next free worker, and returns the job's number."""
    ...

  def wait(self, timeout: float) -> list[Done]:
    """Returns the jobs that have ended. If there are none, waits for at most `timeout` seconds."""
    ...

  def close(self) -> None:
    """Drops the waiting jobs and ends the running ones. A local job can save first, for up to `_GRACE` seconds; a Ray task is killed."""
    ...

  def __enter__(self) -> Self: ...

  def __exit__(self, *_: object) -> None: ...


MAX_DEATHS = 20
"""`run_all` raises InputError when more workers than this have died."""


def run_all(executor: Executor, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any] | None]:
  """Runs jobs, each given as (function, *arguments). A job whose worker died is submitted again, and should resume from its saved state.

  Yields:
    (position of the job in `jobs`, return value) for every completed job, and None about once a second, so that the caller can stop.

  Raises:
    Exception: the exception of a job, or InputError if more than `MAX_DEATHS` workers die.
  """
  given, deaths = {executor.submit(*job): position for position, job in enumerate(jobs)}, 0
  while given:
    for done in executor.wait(1.0):
      position = given.pop(done.job)
      if done.died:
        deaths += 1
        if deaths > MAX_DEATHS:
          raise InputError(f"{deaths} workers died; is there too little memory? The same command goes on.")
        given[executor.submit(*jobs[position])] = position
      elif done.error is not None:
        raise done.error
      else:
        yield position, done.value
    yield None


@dataclasses.dataclass(frozen=True)
class Config:
  """Where jobs run, such as the trials of a tuning.

  Local workers divide the CPU cores of this machine among them. XLA divides sums among the cores that it has. So on a CPU another number of
  workers rounds results otherwise, like another machine. The jobs of one launch are all rounded alike.

  Attributes:
    executor: local (processes of this machine) or ray.
    workers: how many jobs run at once; they divide the CPU cores, which takes part in rounding. 0 takes the number of cores.
    accelerators: GPUs or TPUs per job; a fraction lets several jobs share one; 0 leaves the choice to JAX.
    ray_address: address of a running Ray cluster, HOST:PORT or 'auto'; empty starts one on this machine.
  """

  executor: str = "local"
  workers: int = 1
  accelerators: float = 0.0
  ray_address: str = ""

  def __post_init__(self):
    check_types(self)
    check_name("executor", self.executor, ("local", "ray"))
    check_not_negative(workers=self.workers, accelerators=self.accelerators)
    check_at_most(10**4, workers=self.workers, accelerators=self.accelerators)
    whole = self.accelerators <= 1 or self.accelerators == int(self.accelerators)
    check(whole, "accelerators", self.accelerators, "give a fraction of one, or a whole number")
    share = not 0 < self.accelerators < _LEAST_SHARE
    check(share, "accelerators", self.accelerators, f"the smallest share is {_LEAST_SHARE}, so give at least that, or 0")
    idle = bool(self.ray_address) and self.executor != "ray"
    check(not idle, "ray_address", self.ray_address, "it does nothing with --pool.executor=local; leave it out, or give ray")

  def count(self, jobs: int) -> int:
    """Returns the number of workers for `jobs` jobs. Complete jobs count too, so that a resumed launch divides the cores as before."""
    return min(self.workers or len(cores()), max(jobs, 1))

  def here(self, jobs: int) -> bool:
    """Returns whether jobs run one after another, so that they may run in the process that has them; `jobs` as for `count`."""
    return self.executor == "local" and self.count(jobs) <= 1

  def open(self, prepare: Callable[[], None] = nothing, jobs: int = 10**4) -> Executor:
    """Returns the executor.

    Args:
      prepare: called in a worker before each job is unpickled, for instance to import the job's modules. It must be picklable.
      jobs: largest number of jobs, as for `count`.

    Raises:
      InputError: if there are too few accelerators, or the cluster does not answer.
    """
    workers = self.count(jobs)
    if self.executor == "ray":
      return Ray(workers, self.accelerators, self.ray_address, prepare)
    return Local(workers, environments(workers, self.accelerators), prepare)


def shares(workers: int) -> list[list[int]]:
  """Returns the cores of every worker. All have the same number of cores, and no core is left over, so some may belong to two workers."""
  of_all = cores()
  first = [worker * len(of_all) // workers for worker in range(workers)]
  return [[of_all[(start + step) % len(of_all)] for step in range(-(-len(of_all) // workers))] for start in first]


def environments(workers: int, accelerators: float) -> list[dict[str, str]]:
  """Returns, for every worker, the environment variables that select its GPUs. Raises FieldError if there are too few GPUs."""
  if not accelerators:
    return [{}] * workers
  given = os.environ.get("CUDA_VISIBLE_DEVICES")
  if given is None:
    devices = [str(index) for index in range(len(glob.glob("/dev/nvidia[0-9]*")))]
  else:  # CUDA ignores all entries after an invalid one
    devices = list(itertools.takewhile(lambda device: device and device != "-1", (device.strip() for device in given.split(","))))
  each = max(int(accelerators), 1)
  sharing = max(int(1 / accelerators + 1e-9), 1)  # workers on one device
  needed = -(-workers // sharing) * each
  hint = f"the workers need {needed} and this machine has {len(devices)}; give fewer workers or a smaller fraction"
  check(needed <= len(devices), "pool.accelerators", accelerators, hint)
  out = []
  for worker in range(workers):
    first = worker // sharing * each
    out.append({"CUDA_VISIBLE_DEVICES": ",".join(devices[first : first + each])})
    if sharing > 1:
      out[-1]["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * accelerators:.3f}"
  return out


class Here:
  """Runs every job in this process as soon as it is submitted; see `Executor`. A job that is asked to stop, stops the caller."""

  def __init__(self):
    self.workers, self._done, self._numbers = 1, list[Done](), itertools.count()

  def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
    """Runs a job, and returns its number. Raises `loop.Stopped` if the job does."""
    number = next(self._numbers)
    try:
      self._done.append(Done(number, function(*arguments)))
    except Stopped:
      raise
    except Exception as e:
      self._done.append(Done(number, error=e))
    return number

  def wait(self, timeout: float) -> list[Done]:
    """See `Executor`."""
    done, self._done = self._done, []
    return done

  def close(self) -> None:
    """See `Executor`."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


class _Worker(NamedTuple):
  process: Any
  pipe: connection.Connection


class Local(Queue):
  """Runs jobs in processes of this machine; see `Executor`. The processes exit when their parent dies, even if it was killed."""

  def __init__(self, workers: int, variables: Sequence[Mapping[str, str]] = (), prepare: Callable[[], None] = nothing):
    super().__init__(workers, prepare, pickle.dumps)
    self._variables, self._context = list(variables) or [{}] * workers, multiprocessing.get_context("spawn")
    self._shares, self._pool = shares(workers), dict[int, _Worker]()
    self._running: dict[int, int] = {}  # worker to its job

  def wait(self, timeout: float) -> list[Done]:
    """See `Executor`."""
    by_pipe: dict[Any, int] = {self._pool[worker].pipe: worker for worker in self._running}
    ready = connection.wait(list(by_pipe), timeout) if by_pipe else time.sleep(timeout) or []
    done = [self._collect(by_pipe[pipe]) for pipe in ready]
    self._serve()
    return done

  def close(self) -> None:
    """See `Executor`."""
    self._waiting.clear()
    for worker in self._running:
      self._pool[worker].process.terminate()  # a training saves a checkpoint and exits
    for worker in self._pool.values():
      worker.pipe.close()
    until = time.monotonic() + _GRACE
    for worker in self._pool.values():
      worker.process.join(max(until - time.monotonic(), 0))
      worker.process.kill()
      worker.process.join()
    self._pool, self._running = {}, {}

  def _serve(self) -> None:
    free = (worker for worker in range(self.workers) if worker not in self._running)
    while self._waiting and (worker := next(free, None)) is not None:
      if worker in self._pool and not self._pool[worker].process.is_alive():  # it died between two jobs
        self._bury(worker)
      if worker not in self._pool:
        self._pool[worker] = self._start(self._variables[worker], self._shares[worker])
      number, job = self._waiting.popleft()
      self._running[worker] = number
      with contextlib.suppress(OSError):  # the worker died just now: `wait` reports it
        self._pool[worker].pipe.send(job)

  def _start(self, variables: Mapping[str, str], share: list[int]) -> _Worker:
    ours, theirs = self._context.Pipe()
    process = self._context.Process(target=_work, args=(theirs, os.getpid(), dict(variables), share), daemon=False)
    process.start()
    theirs.close()
    return _Worker(process, ours)

  def _collect(self, worker: int) -> Done:
    number = self._running.pop(worker)
    try:
      value, error = self._pool[worker].pipe.recv()
    except (EOFError, OSError):
      self._bury(worker)
      return Done(number, died=True)
    return Done(number, value, error)

  def _bury(self, worker: int) -> None:
    dead = self._pool.pop(worker)
    dead.pipe.close()
    dead.process.join(_GRACE)


def _work(pipe: connection.Connection, parent: int, variables: Mapping[str, str], share: list[int]) -> None:
  """Runs jobs in a local worker until its pipe closes."""
  os.environ.update(variables)
  use_cores(share)
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent sends SIGTERM
  threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
  while True:
    try:
      job = pipe.recv()
    except (EOFError, OSError):
      return
    answer = job.run()
    try:
      pipe.send(answer)
    except OSError:
      return
    except Exception as e:  # the answer cannot be pickled
      pipe.send((None, RuntimeError(f"{type(e).__name__}: {e}; {answer}")))


def _leave_with(parent: int) -> None:
  while os.getppid() == parent:
    time.sleep(0.5)
  os._exit(1)
