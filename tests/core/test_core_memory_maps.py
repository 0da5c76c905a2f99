"""Compiled programs are dropped before a process has no memory maps left."""

import jax
import jax.numpy as jnp
import pytest

from dnas.core import memory_maps


@pytest.mark.skipif(not memory_maps._MAPS.exists(), reason="this system does not list the memory maps of a process")
def test_programs_are_dropped_where_maps_are_few(compilations):
  double = jax.jit(lambda x: 2 * x + 1)
  double(jnp.zeros(3))
  assert not memory_maps.spare(1.0)
  with compilations() as compiled:
    double(jnp.zeros(3))
  assert not compiled
  assert memory_maps.spare(1e-6)
  with compilations() as compiled:
    assert double(jnp.ones(3))[0] == 3
  assert compiled


def test_a_system_without_such_a_limit_keeps_programs(monkeypatch, tmp_path):
  monkeypatch.setattr(memory_maps, "_LIMIT", tmp_path / "none")
  assert not memory_maps.spare(0.0)
