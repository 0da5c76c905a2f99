"""Compiled programs on disk, found by what they compute.

JAX's persistent cache finds a program by its lowered form, and to lower the programs of a network takes several times as long as to load
them. Here they are found by a description of the traced function, in the same folder, so that a warm start loads and calls. They are not
in JAX's cache too: XLA cannot write a program that it has read from there, as it then lacks its kernels.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxlib
from jax.experimental import serialize_executable

_LEAST_TIME = "jax_persistent_cache_min_compile_time_secs"

_NO_MATTER = "cache", "log", "dump", "platform", "traceback"
"""Words in the names of JAX's settings that change no program."""


def load(description: str | None) -> Callable[..., Any] | None:
  """Returns the program of this description, compiled for the first device; None if there is none, or none that can be read."""
  path = _path(description)
  if path is None:
    return None
  try:
    content = pickle.loads(path.read_bytes())
    return serialize_executable.deserialize_and_load(*content, execution_devices=jax.local_devices()[:1])
  except Exception:  # there is no file, or one that was cut short, of which `pickle` and XLA raise whatever they like
    return None


def compiled(lowered: jax.stages.Lowered, description: str | None) -> jax.stages.Compiled:
  """Compiles a program and writes it, if it has a description and there is a folder; what is not there is compiled again next time."""
  before = _hits()
  program = lowered.compile()
  path = _path(description)
  if path is None or _hits() > before:
    return program
  with contextlib.suppress(ValueError, NotImplementedError, jax.errors.JaxRuntimeError, OSError):
    content = pickle.dumps(serialize_executable.serialize(program))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as whole_or_not_at_all:
      written = pathlib.Path(whole_or_not_at_all) / path.name
      written.write_bytes(content)
      written.replace(path)
  return program


@contextlib.contextmanager
def instead_of_jax() -> Iterator[None]:
  """Within it JAX's persistent cache takes in nothing."""
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  jax.config.update(_LEAST_TIME, float("inf") if _folder() else before)
  try:
    yield
  finally:
    jax.config.update(_LEAST_TIME, before)


_FOUND = threading.local()


def _hits() -> int:
  """Returns how often JAX's persistent cache had what this thread compiled."""
  return getattr(_FOUND, "hits", 0)


def _listen(event: str, **_: Any) -> None:
  if event == "/jax/compilation_cache/cache_hits":
    _FOUND.hits = _hits() + 1


jax.monitoring.register_event_listener(_listen)


def _folder() -> pathlib.Path | None:
  """Returns where programs are kept; nowhere on an accelerator, where it was not tried, and for several processes."""
  folder = jax.config.jax_compilation_cache_dir if jax.config.jax_enable_compilation_cache else None
  return pathlib.Path(folder) / "programs" if folder and jax.default_backend() == "cpu" and jax.process_count() == 1 else None


def _path(description: str | None) -> pathlib.Path | None:
  folder = _folder()
  if folder is None or description is None:
    return None
  settings = sorted((name, repr(value)) for name, value in jax.config.values.items() if not any(word in name for word in _NO_MATTER))
  about = description, _environment(), settings
  return folder / hashlib.sha256(repr(about).encode()).hexdigest()


@functools.cache
def _environment() -> tuple[str, ...]:
  """Returns what a compiled program depends on beside its function: versions, flags, and the processor and its cores."""
  versions = jax.__version__, jaxlib.__version__, jax.devices()[0].client.platform_version
  flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "PJRT_NPROC")]
  processor = ""
  with contextlib.suppress(OSError):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
  return *versions, *flags, os.uname().machine, processor, str(os.cpu_count())
