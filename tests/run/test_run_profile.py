"""The trace of some steps."""

import gzip
import json

import jax
import jax.numpy as jnp

from dnas.run.profile import Profiler


@jax.jit
def work(x):
  return jnp.tanh(x @ x)


def test_the_steps_between_are_traced_and_no_others(tmp_path):
  seen, x = [], jnp.ones((64, 64))
  work(x).block_until_ready()
  with Profiler(tmp_path, 3, 4, lambda step, loss: seen.append(step)) as profiler:
    for step in range(1, 7):
      with jax.profiler.TraceAnnotation(f"step {step}"):
        work(x).block_until_ready()
      profiler.step(step, 0.0)
  assert seen == [1, 2, 3, 4, 5, 6]
  (path,) = tmp_path.rglob("perfetto_trace.json.gz")
  with gzip.open(path) as file:
    names = {event.get("name") for event in json.load(file)["traceEvents"]}
  assert {name for name in names if str(name).startswith("step ")} == {"step 3", "step 4"}
  assert list(tmp_path.rglob("*.xplane.pb"))


def test_a_run_that_ends_within_the_steps_writes_its_trace(tmp_path):
  with Profiler(tmp_path, 2, 100, lambda step, loss: None) as profiler:
    profiler.step(1, 0.0)
    work(jnp.ones((64, 64))).block_until_ready()
    profiler.step(2, 0.0)
  assert list(tmp_path.rglob("*.xplane.pb"))


def test_nothing_is_written_where_the_steps_never_come(tmp_path):
  with Profiler(tmp_path, 50, 60, lambda step, loss: None) as profiler:
    profiler.step(1, 0.0)
  assert not list(tmp_path.iterdir())
