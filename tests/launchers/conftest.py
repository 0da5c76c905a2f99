"""Fixtures of the tests of launchers."""

import shutil

import jax
import pytest
from matplotlib.figure import Figure

import dnas


@pytest.fixture(scope="module", autouse=True)
def cache_settings():
  """Launchers set how long a compilation must take to be kept."""
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  yield
  jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


REAL_PICTURES = (
  *("test_launchers_compare", "test_launchers_demo", "test_launchers_evaluators", "test_launchers_fronts"),
  "test_launchers_use",
)
"""Modules whose pictures are drawn. Elsewhere an empty figure is saved in their place, since text takes most of the time of a run here."""


@pytest.fixture(scope="module", autouse=True)
def empty_pictures(request):
  """Saves an empty figure for every picture, except in `REAL_PICTURES`. Tests of reports look at pictures."""
  save = Figure.savefig
  with pytest.MonkeyPatch.context() as patch:
    if request.path.stem not in REAL_PICTURES:
      patch.setattr(Figure, "savefig", lambda self, *args, **kwargs: save(Figure(figsize=(1, 1)), *args, **kwargs))
    yield


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
