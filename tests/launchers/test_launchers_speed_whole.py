"""The costs in the table of speed where programs are whole, as on an accelerator: they are those that the steps have compiled."""

import collections

import jax

from dnas.compiler import functions
from dnas.launchers import _speed_jobs, speed


def test_no_network_is_compiled_for_its_costs(monkeypatch):
  before, events, large = speed.costs_of, collections.Counter(), []
  monkeypatch.setattr(functions, "_cut", lambda *_: None)
  monkeypatch.setattr(_speed_jobs.jax, "default_backend", lambda: "gpu")

  def count(name, **_):
    events[name.rpartition("/")[2]] += 1

  def counted(function, *args):
    events.clear()
    found = before(function, *args)
    large.append((events["cache_misses"], found["flops"]))
    return found

  monkeypatch.setattr(speed, "costs_of", counted)
  jax.monitoring.register_event_listener(count)
  try:
    config = speed.SpeedConfig("retrain", image_size=8, steps=1, warm=False)
    (row,) = speed.measure(config, speed.Size(1, 2, 4, 1, "float32"))
  finally:
    jax.monitoring.unregister_event_listener(count)
  assert large and all(misses == 0 and flops > 0 for misses, flops in large), large
  assert row["flops"] > 0 and row["memory"] > 0
