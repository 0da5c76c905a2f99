"""Data parallelism: every batch is divided among the devices, and all other arrays are replicated.

A program is written for one device. It marks the axis of the examples (`split`) and the arrays that it returns whole (`replicate`). XLA
divides the program among the devices and inserts the sums between them. So batch statistics cover the whole batch, and several devices
compute the same as one device, except for the rounding of sums.

The devices belong to one process, or to several processes on one or more machines that run the same program. `connect` and `use` choose the
devices once, before anything is compiled. With one device `split` and `replicate` do nothing. Processes must do the same computations in
the same order. So a decision that depends on an outside event, such as a signal, is made by `vote`.
"""

# JAX's own annotations are incomplete.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownLambdaType=false

import atexit
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.core
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dnas.core.config import check
from dnas.core.errors import InputError, first_line

Tree = Any

_AXIS = "batch"
_mesh: Mesh | None = None
_target: str | None = None
_last_words: subprocess.Popen[bytes] | None = None

_THREADS_PER_DEVICE = 8  # of a CPU
_HEARTBEAT = 20
"""Seconds without a sign of life after which a process counts as lost."""


def cores() -> list[int]:
  """Returns the numbers of the CPU cores that this process may use."""
  return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def use_cores(numbers: Sequence[int]) -> None:
  """Moves this process to CPU cores, where the system can do that. Call it before JAX makes its threads, one for every core."""
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, numbers)


def backend() -> str:
  """Returns the kind of device for which programs are traced: 'cpu', 'gpu' or 'tpu'. It decides between forms of one computation."""
  return _target or jax.default_backend()


def target(kind: str) -> None:
  """Traces all programs for another kind of device than this process has, so that they can be compiled for it. Call it before any is."""
  global _target
  _target = kind


def connect(coordinator: str, num_processes: int, process_id: int) -> None:
  """Connects this process to the other processes of the run. Returns when all are connected.

  Args:
    coordinator: host and port of process 0.
    num_processes: number of processes.
    process_id: number of this process, from 0.

  Raises:
    InputError: if the processes do not find each other.
  """
  if process_id:
    _say_at_sudden_end(
      f"error: process {process_id} of this run ended without a word of its own, as it does when process 0 is gone; start all of them "
      "again, and the run goes on.\n"
    )
  try:
    jax.distributed.initialize(
      coordinator, num_processes, process_id, heartbeat_timeout_seconds=_HEARTBEAT, shutdown_timeout_seconds=_HEARTBEAT
    )
  except (RuntimeError, ValueError) as e:
    raise InputError(
      f"process {process_id} of {num_processes} did not find the others at --coordinator={coordinator} ({first_line(e)}); start all of "
      "them, with the same --coordinator and --num_processes, within five minutes."
    ) from None


def _say_at_sudden_end(sentence: str) -> None:
  """Starts a process that prints a sentence if this one ends by neither an exit nor `leave`. JAX aborts when its coordinator is gone."""
  global _last_words
  script = "import sys; sys.stdin.read(1) or sys.stderr.write(sys.argv[1])"
  _last_words = subprocess.Popen([sys.executable, "-S", "-E", "-c", script, sentence], stdin=subprocess.PIPE, start_new_session=True)
  atexit.register(_keep_silent)


def _keep_silent() -> None:
  if _last_words:
    _last_words.communicate(b".")


def leave(status: int) -> NoReturn:
  """Ends this process at once. An orderly exit would wait for the other processes."""
  _keep_silent()
  os._exit(status)


def is_first() -> bool:
  """Returns whether this is process 0, which alone writes and prints. True if there is only one process."""
  return jax.process_index() == 0


def lost_process(error: BaseException) -> bool:
  """Returns whether an error says that another process of this run is gone."""
  words = "gloo|nccl|connection closed|connection reset|socket closed|coordination|unavailable|heartbeat|barrier"
  return jax.process_count() > 1 and re.search(words, str(error), re.IGNORECASE) is not None


def vote(flag: bool) -> bool | jax.Array:
  """Returns whether any process sets the flag. With several processes it is a scalar on the device, which may not be ready yet."""
  if jax.process_count() == 1:
    return flag
  size, sharding = shared_by(), _sharding(PartitionSpec(_AXIS))
  flags = jax.make_array_from_callback((size,), sharding, lambda index: np.full(size, flag)[index])
  return _any(flags)


def meet() -> None:
  """Waits until every process has called this function."""
  bool(vote(False))


@jax.jit
def _any(flags: jax.Array) -> jax.Array:
  return replicate(flags.any())


def use(count: int) -> None:
  """Chooses how many devices of every process share the work; 0 means all.

  Raises:
    FieldError: if a process has fewer devices.
  """
  global _mesh
  _give_threads()
  found = jax.local_device_count()
  check(0 <= count <= found, "devices", count, f"this machine shows {found}; give at most that, or 0 for all")
  by_process = [[device for device in jax.devices() if device.process_index == process] for process in range(jax.process_count())]
  chosen = [device for devices in by_process for device in devices[: count or len(devices)]]
  _mesh = jax.make_mesh((len(chosen),), (_AXIS,), (jax.sharding.AxisType.Auto,), devices=chosen) if len(chosen) > 1 else None


DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_enable_triton_gemm=false")
"""Flags of XLA with which a program on a GPU gives the same bits at every run. The first takes kernels that add in a fixed order, and does
not choose kernels by timing, which may end differently each time. Without such timing XLA has no setting for its own products, so the
second leaves products to cuBLAS."""


def make_deterministic() -> None:
  """Adds `DETERMINISTIC` to XLA_FLAGS where JAX is installed for GPUs. A flag that stands there already stays as it is.

  It must run before JAX makes the devices. On a CPU it does nothing, since a CPU is deterministic anyway.
  """
  plugins = importlib.metadata.entry_points(group="jax_plugins")
  if any(kind in plugin.name for plugin in plugins for kind in ("cuda", "rocm")):
    given = os.environ.get("XLA_FLAGS", "")
    added = [flag for flag in DETERMINISTIC if flag.partition("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *added])


def _give_threads() -> None:
  """Enlarges the thread pool if XLA_FLAGS divides a CPU into devices. It must run before JAX makes the devices.

  The devices share one pool, by default of one thread per core. Two devices that wait for each other, in different sums, can fill it.
  """
  divided = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
  if divided:
    os.environ.setdefault("PJRT_NPROC", str(_THREADS_PER_DEVICE * int(divided[1])))


def check_batch(field: str, batch_size: int) -> None:
  """Raises FieldError unless the batch size is a multiple of the number of devices."""
  count = shared_by()
  check(batch_size % count == 0, field, batch_size, f"{count} devices share a batch, so give a multiple of {count}, or other --devices")


def shared_by() -> int:
  """Returns the number of devices that share a batch."""
  return _mesh.size if _mesh else 1


def shareable(count: int) -> int:
  """Returns the smallest batch size of at least `count` that the devices can share."""
  return -(-count // shared_by()) * shared_by()


def split(x: Tree, axis: int = 0) -> Tree:
  """Divides arrays among the devices along `axis`, the axis of the examples. Works inside and outside of compiled programs."""
  return _place(x, PartitionSpec(*[None] * axis, _AXIS))


def replicate(x: Tree) -> Tree:
  """Puts whole arrays on every device. Works inside and outside of compiled programs."""
  return _place(x, PartitionSpec())


def _place(x: Tree, spec: PartitionSpec) -> Tree:
  if _mesh is None:
    return x
  sharding = _sharding(spec)
  return jax.tree.map(lambda leaf: _place_array(leaf, sharding), x)


def _sharding(spec: PartitionSpec) -> NamedSharding:
  assert _mesh is not None  # `use` makes it for several devices, and so for several processes
  return NamedSharding(_mesh, spec)


def _place_array(x: Any, sharding: jax.sharding.Sharding) -> jax.Array:
  if isinstance(x, jax.core.Tracer):
    return jax.lax.with_sharding_constraint(x, sharding)
  if sharding.is_fully_addressable or jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.device_put(x, sharding)
  on_host = np.asarray(x)
  return jax.make_array_from_callback(x.shape, sharding, lambda index: on_host[index])  # no comparison between the processes


def place(x: np.ndarray, like: jax.Array) -> jax.Array:
  """Puts an array on the devices of `like`, with its sharding."""
  return _place_array(x, like.sharding) if like.committed else jax.device_put(x)


def spread_size(size: int) -> int:
  """Returns the length of the array that `spread` returns for one of length `size`."""
  return size if jax.process_count() == 1 else shareable(size)


def spread(x: np.ndarray) -> np.ndarray | jax.Array:
  """Returns an array (N,), which every process has whole, divided among the processes; each can write its part. Zeros may pad its end."""
  if jax.process_count() == 1:
    return x
  padded = np.concatenate([x, np.zeros(spread_size(x.size) - x.size, x.dtype)])
  return jax.make_array_from_callback(padded.shape, _sharding(PartitionSpec(_AXIS)), lambda index: padded[index])
