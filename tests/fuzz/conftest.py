"""What the fuzzed tests share."""

import pathlib
import resource

import pytest


@pytest.fixture
def little_memory():
  """A damaged pickle may ask for any amount of memory; here it gets two gigabytes more than there are."""
  used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
  before = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_AS, before)
