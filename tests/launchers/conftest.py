"""Fixtures of the tests of launchers."""

import pytest


@pytest.fixture
def workdir(tmp_path):
  """A folder that must not be made."""
  folder = tmp_path / "runs" / "new"
  yield folder
  assert not folder.exists() and not folder.parent.exists()
