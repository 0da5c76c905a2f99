"""A search with a limit on the expected cost, and tables of latencies, through the launchers."""

import json
import pathlib

import pytest
from tiny_runs import DATA, TEXT_SEARCH, cache_flag, history, launch, refusal

from dnas.core.costs import scaled
from dnas.launchers import latency
from dnas.supernet.latencies import Table

SEARCH = (*DATA, "--space=darts_s2", "--supernet.channels=2", "--supernet.cells=1", "--darts.arch_learning_rate=0.1")
SEARCH += ("--darts.epochs=1", "--darts.diagnose_every=0")
MAKE = ("--make", "--space=darts_s2", "--image_shape=4,4,1", "--supernet.channels=2", "--supernet.cells=1", "--repeats=2")


def measure(*flags: object) -> int:
  return latency.main(["latency", cache_flag(), *map(str, flags)])


def test_a_search_with_a_target_tells_its_costs_and_says_them(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture):
  folder = tmp_path / "run"
  assert launch("search", *SEARCH, f"--workdir={folder}", "--cost.of=weights", "--cost.target=800") == 0
  out = capsys.readouterr().out
  metrics, result, _ = history(folder)
  assert metrics[-1]["cost/expected"] == result["cost/expected"] > 0 and metrics[-1]["cost/multiplier"] >= 0
  assert f"cost expected {result['cost/expected']:.4g}  discrete {result['cost/discrete']:.4g}  multiplier" in out
  assert f"weights: {scaled(result['cost/expected'])} expected at a target of 800 (" in out
  config = json.loads((folder / "config.json").read_text())["config"]
  assert config["cost.target"] == 800 and config["cost.of"] == "weights"


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (("--cost.of=weights",), "--cost.of is weights; it does nothing without --cost.target or --cost.weight, so leave it out, or give one"),
    (("--cost.rate=1",), "--cost.rate is 1.0; it does nothing without --cost.target"),
    (("--cost.weight=1", "--cost.rate=1"), "--cost.rate is 1.0; it does nothing without --cost.target, so leave it out."),
    (("--cost.target=9e4", "--cost.table=x"), "--cost.table is x; it does nothing with --cost.of=multiply_adds, so leave it out"),
    (("--cost.target=9",), "--cost.target is 9.0; the expected cost in multiply_adds is "),
    (("--cost.target=1e12",), " if every edge has its dearest, so give a target between."),
    (("--cost.target=1", "--cost.of=latency", "--cost.table=nowhere"), "--cost.table is nowhere; it cannot be read as text; give a file"),
  ],
)
def test_bad_flags(flags: tuple[str, ...], said: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture):
  assert said in refusal(capsys, "search", tmp_path / "run", *SEARCH, *flags)
  assert not (tmp_path / "run").exists()


def test_cells_of_text_have_no_costs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture):
  said = refusal(capsys, "search", tmp_path / "run", *TEXT_SEARCH, "--cost.target=1")
  assert said == "--cost.target is not a flag with --space=darts_recurrent; it is one with --space=darts_conv or a preset of that kind."


def test_a_table_is_made_goes_on_is_printed_and_limits_a_search(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture):
  folder, path = tmp_path / "table", tmp_path / "table" / "latency.json"
  assert measure(*MAKE, f"--workdir={folder}") == 0
  whole = Table.read(path)
  assert "sep_conv_3x3 from 4x4x4 to 4 channels at stride" in capsys.readouterr().out and whole.about["repeats"] == 2
  assert all(0 < row.milliseconds < 1000 and row.quartiles[0] <= row.milliseconds <= row.quartiles[1] for row in whole.rows.values())
  key, row = list(whole.rows.items())[-1]
  Table(whole.about, {other: one for other, one in whole.rows.items() if other != key}).write(path)
  assert measure(*MAKE, f"--workdir={folder}") == 0
  again = Table.read(path)
  assert list(again.rows) == list(whole.rows) and sum(again.rows[name] == whole.rows[name] for name in whole.rows) >= len(whole.rows) - 1
  assert capsys.readouterr().out.count(" ms ") == 1, "the other rows are not measured again"
  assert measure(*MAKE, f"--workdir={folder}", "--batch_size=2") == 2
  assert "its table has the batch_size 1 and this one would have 2; give another folder" in capsys.readouterr().err
  assert measure(f"--table={path}") == 0
  assert f"| {key[0]} " in capsys.readouterr().out
  said = refusal(capsys, "search", tmp_path / "run", *SEARCH, "--cost.of=latency", "--cost.weight=1", f"--cost.table={path}")
  assert said.startswith(f"--cost.table is {path}; it lacks ") and said.endswith("measure it by dnas latency --make.")


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    ((), "--make is false; give one of --make and --table=FILE."),
    (("--make",), "--workdir is empty"),
    (("--table=nowhere.json",), "--table is nowhere.json; it is no file with a table as JSON"),
    (("--table=nowhere.json", "--repeats=3"), "--repeats is given; --table prints a table, so leave it out."),
    (("--make", "--image_shape=3"), "--image_shape is 3; give rows, columns and channels"),
    (("--make", "--search=digits_bench", "--supernet.cells=3"), "--supernet.cells is 3; the preset digits_bench of --search has its own"),
    (("--make", "--workdir=w", "--search=text_demo"), "--search is text_demo; a latency is of operations on images"),
  ],
)
def test_bad_flags_of_a_measurement(flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture):
  assert measure(*flags) == 2
  assert said in capsys.readouterr().err
