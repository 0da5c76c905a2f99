"""Fixtures of the tests of launchers."""

import shutil

import jax
import pytest

import dnas


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


@pytest.fixture(scope="module")
def model(trained):
  """The network of a finished training, which the module gives as `trained`."""
  return dnas.load_run(trained)


@pytest.fixture
def copy(trained, tmp_path):
  """A copy of that training's folder, to be changed."""
  return shutil.copytree(trained, tmp_path / "copy")
