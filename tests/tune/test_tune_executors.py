"""Local workers divide the cores: all alike, none left over, and as before when a launch is resumed."""

import collections
import os

import pytest

from dnas.core import devices
from dnas.tune import executors


@pytest.mark.parametrize("number, workers", [(1, 1), (2, 1), (2, 2), (3, 2), (16, 3), (2, 5), (64, 40)])
def test_every_worker_has_an_equal_share(number, workers, monkeypatch):
  monkeypatch.setattr(executors, "cores", lambda: list(range(10, 10 + number)))
  shares = executors.shares(workers)
  assert len(shares) == workers and {len(set(share)) for share in shares} == {-(-number // workers)}
  users = collections.Counter(core for share in shares for core in share)
  assert set(users) == set(range(10, 10 + number)) and max(users.values()) - min(users.values()) <= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives a process no cores of its own")
def test_a_worker_computes_on_its_share():
  with executors.Local(2) as pool:
    found = [done for done in executors.run_all(pool, [(devices.cores,), (devices.cores,)]) if done is not None]
  assert [cores for _, cores in sorted(found)] == executors.shares(2)


def test_complete_jobs_count_among_those_that_divide_the_cores():
  pool = executors.Config(workers=4)
  assert pool.count(90) == 4 and pool.count(3) == 3 and executors.Config(workers=0).count(10**4) == len(devices.cores())
  assert executors.Config(workers=1).here(90) and pool.here(1) and not pool.here(2)
  assert not executors.Config(executor="ray").here(1)
