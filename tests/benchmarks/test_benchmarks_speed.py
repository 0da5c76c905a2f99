"""The benchmark of speed, through its main, on the smallest sizes; no time is judged."""

import json

import jax
import pytest

from benchmarks import speed


def test_the_table_and_its_file(tmp_path, capsys):
  before = jax.config.jax_compilation_cache_dir
  flags = ("--jobs=language_search,retrain", "--cells=1", "--channels=2", "--batch=4", "--image_size=8", "--steps=2")
  assert speed.main(["speed", f"--workdir={tmp_path}", *flags]) == 0
  rows = json.loads((tmp_path / "speed.json").read_text())
  assert [(row["job"], row["channels"]) for row in rows] == [("language_search", 2), ("retrain", 2)]
  for row in rows:
    assert 0 < row["step"] < row["warm"] < row["cold"] and row["flops"] > 0 and row["memory"] > 0
    assert row["examples_per_second"] * row["step"] == pytest.approx(4 * 35 if row["job"] == "language_search" else 4)
  assert jax.config.jax_compilation_cache_dir == before
  assert "| retrain " in capsys.readouterr().out


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--jobs=serch",), "--jobs is serch; "),
    (("--cells=3,x",), "--cells"),
    (("--batch=0",), "--batch is 0; give numbers above zero"),
    (("--peer",), "--peer is True; the peer is a first-order search, so give --jobs=search_first_order"),
    (("--space=darts_recurrent",), "--space is darts_recurrent"),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert speed.main(["speed", f"--workdir={tmp_path}", *flags]) == 2
  err = capsys.readouterr().err
  assert sentence in err and err.count("\n") == 1
