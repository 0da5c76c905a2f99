"""The executor whose jobs are tasks of a Ray cluster; Ray is imported once such an executor is made."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from dnas.core.config import check_port
from dnas.core.errors import FieldError
from dnas.tune.jobs import Done, Job, Queue, nothing


class Ray(Queue):
  """Runs jobs as tasks of a Ray cluster; see `executors.Executor`. A task on a node that was lost counts as one whose worker died."""

  def __init__(self, workers: int, accelerators: float, address: str, prepare: Callable[[], None] = nothing):
    """Connects to Ray. Raises InputError if Ray is not installed, nothing answers at the address, or the cluster cannot be used."""
    try:
      import ray
    except ImportError:
      raise FieldError("pool.executor", "ray", "Ray is not installed; pip install 'ray[default]', or give local") from None
    super().__init__(workers, prepare, ray.cloudpickle.dumps)  # pyright: ignore[reportAttributeAccessIssue]
    self._ray, self._owned = ray, not ray.is_initialized()
    self._running: dict[Any, int] = {}
    if self._owned:
      _connect(ray, address, workers)
    options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0, "max_calls": 0} | ({"num_gpus": accelerators} if accelerators else {})
    self._call = ray.remote(**options)(Job.run)

  def wait(self, timeout: float) -> list[Done]:
    """See `executors.Executor`."""
    if not self._running:
      time.sleep(timeout)
      return []
    ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
    done = [self._collect(reference) for reference in ready]
    self._serve()
    return done

  def close(self) -> None:
    """See `executors.Executor`."""
    self._waiting.clear()
    for reference in self._running:
      with contextlib.suppress(Exception):
        self._ray.cancel(reference, force=True)
    self._running = {}
    if self._owned:
      self._ray.shutdown()

  def _serve(self) -> None:
    while self._waiting and len(self._running) < self.workers:
      number, job = self._waiting.popleft()
      self._running[self._call.remote(job)] = number

  def _collect(self, reference: Any) -> Done:
    number, errors = self._running.pop(reference), self._ray.exceptions
    try:
      value, error = self._ray.get(reference)
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.RayTaskError, errors.ObjectLostError, errors.OwnerDiedError) as e:
      if isinstance(e, errors.RayTaskError):
        return Done(number, error=RuntimeError(str(e)))
      return Done(number, died=True)
    return Done(number, value, error)


def _connect(ray: Any, address: str, workers: int) -> None:
  host, _, port = address.removeprefix("ray://").partition(":")
  if address and address != "auto":
    if not (port.isdecimal() and len(port) <= 18):  # Python's int() refuses thousands of digits
      raise FieldError("pool.ray_address", address, "write it as HOST:PORT, such as 10.0.0.1:6379")
    check_port("pool.ray_address", address, int(port))
    try:
      socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as e:  # an invalid host name is a ValueError
      cause = getattr(e, "strerror", None) or e
      hint = f"nothing answers there ({cause}); start Ray there with 'ray start --head --port={port}', or give its address"
      raise FieldError("pool.ray_address", address, hint) from None
  options = {"address": address} if address else {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False}
  try:
    ray.init(**options, log_to_driver=False, configure_logging=True, logging_level="ERROR")
  except (ConnectionError, RuntimeError, TimeoutError) as e:
    hint = f"the cluster cannot be used ({' '.join(str(e).split())[:300].rstrip('.')}); start a cluster of this version of Ray"
    raise FieldError("pool.ray_address", address or "''", hint) from None
