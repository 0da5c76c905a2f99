"""The benchmark of speed, through its main, on the smallest sizes; no time is judged."""

import json

import jax
import pytest

from benchmarks import speed

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = "--cells=1", "--channels=2", "--batch=4", "--image_size=8", "--steps=2"


def rows_of(folder, *flags):
  assert speed.main(["speed", f"--workdir={folder}", *SMALL, *flags]) == 0
  return json.loads((folder / "speed.json").read_text())


def test_the_table_and_its_file(tmp_path, capsys):
  before = jax.config.jax_compilation_cache_dir
  rows = rows_of(tmp_path, "--jobs=language_search,retrain", "--peak_gflops=1", "--peak_gbytes=1000")
  assert [(row["job"], row["channels"]) for row in rows] == [("language_search", 2), ("retrain", 2)]
  for row in rows:
    assert 0 < row["step"] < min(row["warm"], row["cold"]) and row["flops"] > 0 and row["memory"] > 0
    assert row["examples_per_second"] * row["step"] == pytest.approx(4 * 35 if row["job"] == "language_search" else 4)
    assert 0 < row["dispatch"] <= 2 * row["step"] and 0 < row["input"]
    assert row["roofline"] * row["step"] == pytest.approx(max(row["flops"] / 1e9, row["bytes"] / 1e12))
  assert rows[0]["to_first"] == 1 and rows[1]["to_first"] > 0
  assert jax.config.jax_compilation_cache_dir == before
  assert "| retrain " in capsys.readouterr().out


def test_seeds_and_growth(tmp_path, capsys):
  one, two = rows_of(tmp_path, "--jobs=language_search", "--seeds=1,2", "--warm=false")
  assert (one["seeds"], two["seeds"]) == (1, 2) and "warm" not in one and one["roofline"] is None
  assert two["examples_per_second"] * two["step"] == pytest.approx(2 * 4 * 35)
  # The loss and its gradient are evaluated twice a step, and in the program of the seeds the optimizers count too.
  assert 1.5 < two["flops"] / one["flops"] < 3
  out = capsys.readouterr().out
  assert "language_search: seeds 1 to 2: a step grows to the power" in out


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
    (("--peer",), "--peer is True; the peer is a first-order search, so give --jobs=search_first_order"),
    (("--seeds=1,2",), "--seeds is 1,2; a retraining has one seed"),
    (("--precision=float16",), "--precision is float16"),
    (("--space=darts_recurrent",), "--space is darts_recurrent"),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert speed.main(["speed", f"--workdir={tmp_path}", *flags]) == 2
  err = capsys.readouterr().err
  assert sentence in err and err.count("\n") == 1
