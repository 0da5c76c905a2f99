"""Settings of the whole suite: strict rank promotion, a persistent compilation cache, one CPU device.

DNAS_TEST_PLATFORM=cuda computes on a GPU, with products in full float32.
"""

import contextlib
import gc
import logging
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib
import pytest

from dnas.core import memory_maps, program_cache, registry

gc.set_threshold(100_000, 20, 20)  # as the launchers do; at Python's own thresholds whole seconds go to looking for garbage
matplotlib.use("Agg")
PLATFORM = os.environ.get("DNAS_TEST_PLATFORM", "cpu")
jax.config.update("jax_platforms", PLATFORM)
if PLATFORM != "cpu":
  jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def use_cache():
  program_cache.use(f"{tempfile.gettempdir()}/dnas-test-compilation-cache-{os.geteuid()}", 2e9)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


use_cache()


@pytest.fixture(autouse=True)
def cache_folder():
  """A launcher chooses a folder for compiled programs, or none, for the rest of the process; the next test has the suite's again."""
  before = program_cache.folder()
  yield
  if program_cache.folder() != before:
    use_cache()


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
  """The programs of thousands of tests would be more than a process can have."""
  yield
  memory_maps.spare(0.3)


# A run depends on the modules that have registered units, but not on the other tests of its process.


def pytest_collection_finish(session):
  _forget_units()
  gc.freeze()  # what the modules hold is no garbage


def _forget_units():
  for name in registry.foreign_modules():
    del registry._MODULES[name]


@pytest.fixture(scope="module", autouse=True)
def forgotten_units():
  """Fixtures of a module may load units, which are not those of the next module."""
  yield
  _forget_units()


@pytest.fixture(autouse=True)
def no_foreign_units(monkeypatch):
  monkeypatch.setattr(registry, "_MODULES", {})


@pytest.fixture
def compilations(caplog):
  """A context manager: the list of what is compiled inside it, complete when it is left."""

  @contextlib.contextmanager
  def listen():
    messages = []
    with jax.log_compiles(), caplog.at_level(logging.DEBUG):
      jax.jit(lambda x: x + 2)(jnp.zeros(3))
      assert any("Compiling" in record.getMessage() for record in caplog.records)  # so the log would show it
      caplog.clear()
      yield messages
    messages += [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]

  return listen


QUICK = ("cells", "conformance", "core", "data", "evaluate", "fuzz", "launchers", "nets", "supernet", "train", "tune")
"""Folders whose tests compile quickly and badly. The others try the programs that a user gets, but for modules that ask for this."""


@contextlib.contextmanager
def _compiling(quickly):
  """Sets how this process compiles, and those that it starts."""
  before = jax.config.read("jax_disable_most_optimizations")
  jax.config.update("jax_disable_most_optimizations", quickly)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quickly)))
    yield
  jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def quick_compilation():
  """Compiles quickly and badly, for a module that names it in `usefixtures`."""
  with _compiling(quickly=True):
    yield


@pytest.fixture
def full_compilation():
  """Compiles well, for a test whose programs run longer than they compile."""
  with _compiling(quickly=False):
    yield


@pytest.fixture(scope="module", autouse=True)
def compilation_of_folder(request):
  """Compiles the programs of a folder as `QUICK` says."""
  with _compiling(quickly=True) if request.path.parent.name in QUICK else contextlib.nullcontext():
    yield


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
