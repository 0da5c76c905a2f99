"""Fixtures of the tests of launchers."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def cache_settings():
  """Launchers set how long a compilation must take to be kept."""
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  yield
  jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.fixture
def workdir(tmp_path):
  """A folder that must not be made."""
  folder = tmp_path / "runs" / "new"
  yield folder
  assert not folder.exists() and not folder.parent.exists()
