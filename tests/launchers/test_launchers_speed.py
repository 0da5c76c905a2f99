"""The benchmark of speed, through its main, on the smallest sizes; no time is judged."""

import collections
import json
import os
import platform
import resource
import sys

import forks
import jax
import pytest

from dnas.launchers import speed
from dnas.search.blackbox.strategies import STRATEGIES

SMALL = "--cells=1", "--channels=2", "--batch=4", "--image_size=8", "--vocabulary=20", "--words=5", "--steps=2"


def rows_of(folder, *flags):
  assert speed.main(["speed", f"--workdir={folder}", *SMALL, *flags]) == 0
  return json.loads((folder / "speed.json").read_text())


def test_the_table_and_its_file(tmp_path, capsys):
  before = jax.config.jax_compilation_cache_dir
  rows = rows_of(tmp_path, "--jobs=language_evaluate,retrain", "--peak_gflops=1", "--peak_gbytes=1000")
  assert [(row["job"], row["channels"]) for row in rows] == [("language_evaluate", 2), ("retrain", 2)]
  for row in rows:
    assert 0 < row["step"] < min(row["warm"], row["cold"]) and row["flops"] > 0 and row["memory"] > 0
    assert row["examples_per_second"] * row["step"] == pytest.approx(4 * 5 if row["job"] == "language_evaluate" else 4)
    assert 0 < row["dispatch"] <= 2 * row["step"] and 0 < row["input"]
    assert row["roofline"] * row["step"] == pytest.approx(max(row["flops"] / 1e9, row["bytes"] / 1e12))
  assert rows[0]["to_first"] == 1 and rows[1]["to_first"] > 0
  assert jax.config.jax_compilation_cache_dir == before
  assert "| retrain " in capsys.readouterr().out


def test_seeds_and_growth(tmp_path, capsys):
  one, two = rows_of(tmp_path, "--jobs=language_search", "--seeds=1,2", "--warm=false")
  assert (one["seeds"], two["seeds"]) == (1, 2) and "warm" not in one and one["roofline"] is None
  assert two["examples_per_second"] * two["step"] == pytest.approx(2 * 4 * 5)
  # The loss and its gradient are evaluated twice a step, and in the program of the seeds the optimizers count too.
  assert 1.5 < two["flops"] / one["flops"] < 3
  out = capsys.readouterr().out
  assert "language_search: seeds 1 to 2: a step grows to the power" in out


def test_cold_compiles_everything_and_warm_reads_it(tmp_path, monkeypatch):
  events, seen, problems, first_step = collections.Counter(), [], [], speed._first_step

  def count(name, **_):
    events[name.rpartition("/")[2]] += 1

  def counted(job):
    events.clear()
    result = first_step(job)
    seen.append((events["cache_misses"], events["cache_hits"]))
    problems.append(job.problem(result[1]))
    return result

  monkeypatch.setattr(speed, "_first_step", counted)
  jax.monitoring.register_event_listener(count)
  try:
    config = speed.SpeedConfig("search_first_order", image_size=8)
    speed._compile_times(config, speed.Size(1, 2, 4, 1, "float32"), config.jobs, str(tmp_path))
  finally:
    jax.monitoring.unregister_event_listener(count)
  (compiled, _), (missed, read) = seen
  assert missed == 0 and read == sum(seen[0]) and compiled > 30
  assert len(problems[0]) > 10  # arrays of the search, as the peer would get them


PEER = """#!{python}
import sys
if "importlib" in sys.argv[-1]:
  print("[]")
else:
  print('{{"python": "3.10.0", "torch": "2.0", "threads": 2, "forms": ["channels first", "channels last"]}}', flush=True)
  for line in sys.stdin:
    print("[2.0, 1.0]", flush=True)
"""


def test_a_peer_takes_its_steps_in_turn(tmp_path, capsys):
  peer = tmp_path / "python"
  peer.write_text(PEER.format(python=sys.executable))
  peer.chmod(0o755)
  (row,) = rows_of(tmp_path, "--jobs=retrain", "--warm=false", f"--peer={peer}")
  assert (row["peer_forms"], row["peer_steps"]) == (["channels first", "channels last"], [2, 1]) and row["jax"] == jax.__version__
  assert row["ratio_to_peer"] == pytest.approx(row["step"])
  assert "the peer: Python 3.10.0, PyTorch 2.0, threads: 2" in capsys.readouterr().out


def test_growth():
  row = {"job": "retrain", "cells": 2, "channels": 4, "batch": 8, "seeds": 1, "precision": "float32", "step": 1.0, "cold": 10.0}
  other = {**row, "cells": 8, "step": 4.0, "cold": 20.0}
  assert speed.growth_of([row, other, {**row, "cells": 8, "channels": 16}]) == [
    "retrain: cells 2 to 8: a step grows to the power 1.00, cold to 0.50",
    "retrain: channels 4 to 16: a step grows to the power -1.00, cold to -0.50",
  ]


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--jobs=serch",), "--jobs is serch; "),
    (("--cells=3,x",), "--cells"),
    (("--batch=0",), "--batch is 0; give numbers above zero"),
    (("--peer=python3",), "--peer is python3; PyTorch has one seed, --space=darts_conv, --precision=float32, and not the jobs search_"),
    (("--peer=python3", "--jobs=search_first_order", "--seeds=2"), "--peer is python3; PyTorch has one seed"),
    (("--peer=python3", "--jobs=search_first_order", "--space=nasbench201"), "--peer is python3; PyTorch has one seed"),
    (("--peer=python3", "--jobs=search_first_order", "--precision=bfloat16"), "--peer is python3; PyTorch has one seed"),
    (("--words=1",), "--words is 1; it must be at least 2"),
    (("--vocabulary=1",), "--vocabulary is 1; it must be at least 2"),
    (("--peer=no_such_python", "--jobs=search_first_order"), "--peer is no_such_python; there is no such program"),
    (("--seeds=1,2",), "--seeds is 1,2; the job retrain has one seed"),
    (("--precision=float16",), "--precision is float16"),
    (("--space=darts_recurrent",), "--space is darts_recurrent"),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert speed.main(["speed", f"--workdir={tmp_path}", *flags]) == 2
  err = capsys.readouterr().err
  assert sentence in err and err.count("\n") == 1


def test_every_strategy_is_measured_by_itself(tmp_path, capsys):
  assert speed.main(["speed", f"--workdir={tmp_path}", "--jobs=strategies", "--evaluations=2"]) == 0
  rows, out = json.loads((tmp_path / "strategies.json").read_text()), capsys.readouterr().out
  left_out = {name for name in STRATEGIES if f"{name} is left out: strategy '{name}' needs the package" in out}
  assert {row["strategy"] for row in rows} == set(STRATEGIES) - left_out and len(rows) >= 8
  assert all(row["first"] > 0 and row["each"] > 0 and f"| {row['strategy']} " in out for row in rows)
  assert not (tmp_path / "speed.json").exists()


REUSE = """
import os, resource, sys
import jax
from dnas.launchers import _run
_run.reuse_memory()
program = jax.jit(lambda x: jax.lax.optimization_barrier(2 * x).sum())
x, faults = jax.numpy.ones(2**25), []
for _ in range(4):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  program(x).block_until_ready()
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(jax.config.read("jax_cpu_enable_async_dispatch"), min(faults[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library cannot be told to keep memory")
def test_a_large_program_uses_its_memory_again(tmp_path):
  (tmp_path / "reuse.py").write_text(REUSE)
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}  # several devices compute in threads of their own
  done = forks.run(tmp_path / "reuse.py", cwd=tmp_path, env=environment)
  asynchronous, faults = done.stdout.split()
  assert asynchronous == "False" and int(faults) < 2**27 // resource.getpagesize() // 10
