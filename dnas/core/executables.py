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

_FOLDER, _LEAST_TIME = "programs", "jax_persistent_cache_min_compile_time_secs"

_NO_MATTER = "cache", "log", "dump", "traceback"
"""Words in the names of JAX's settings that change no program."""


def load(description: str) -> Callable[..., Any] | None:
  """Returns the program of this description, compiled for the first device; None if there is none that can be read."""
  path = _path(description)
  if path is None:
    return None
  try:
    content = pickle.loads(path.read_bytes())
    return serialize_executable.deserialize_and_load(*content, execution_devices=jax.local_devices()[:1])
  except FileNotFoundError:
    return None
  except Exception:  # whatever a file that was cut short or is not ours makes `pickle` or XLA raise: the program is compiled anew
    return None


def compiled(lowered: jax.stages.Lowered, description: str) -> jax.stages.Compiled:
  """Compiles a program and writes it, if there is a folder for it; one that cannot be written is compiled again next time."""
  before = _hits()
  program = lowered.compile()
  path = _path(description)
  if path is None or _hits() > before:
    return program
  with contextlib.suppress(ValueError, NotImplementedError, jax.errors.JaxRuntimeError, OSError):
    content = pickle.dumps(serialize_executable.serialize(program))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
      file.write(content)
    os.replace(name, path)
  return program


@contextlib.contextmanager
def instead_of_jax() -> Iterator[None]:
  """Within it JAX's persistent cache takes in nothing."""
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  jax.config.update(_LEAST_TIME, float("inf") if jax.default_backend() == "cpu" else before)
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


def _path(description: str) -> pathlib.Path | None:
  folder = jax.config.jax_compilation_cache_dir
  if not folder or not jax.config.jax_enable_compilation_cache or jax.default_backend() != "cpu":
    return None
  settings = sorted((name, repr(value)) for name, value in jax.config.values.items() if not any(word in name for word in _NO_MATTER))
  about = description, _environment(), settings
  return pathlib.Path(folder) / _FOLDER / hashlib.sha256(repr(about).encode()).hexdigest()


@functools.cache
def _environment() -> tuple[str, ...]:
  """Returns what a compiled program depends on beside its function: versions, flags, and the processor."""
  versions = jax.__version__, jaxlib.__version__, jax.devices()[0].client.platform_version
  processor = ""
  with contextlib.suppress(OSError):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
  return *versions, os.environ.get("XLA_FLAGS", ""), os.uname().machine, processor
