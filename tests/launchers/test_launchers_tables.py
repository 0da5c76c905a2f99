"""The two tables: counted weights, trainings that are run, read and gone on with, and the files."""

import json
import math
import types

import pytest
from tiny_runs import TEXT_DATA, cache_flag

from dnas.launchers import _table_rows, tables

TINY = {"data.dataset": "synthetic", "data.examples": 64, "data.batch_size": 32, "data.cutout_length": 0, "train.epochs": 1}
TEXT = {"data.dataset": "synthetic_text", **dict(flag.removeprefix("--").split("=") for flag in TEXT_DATA), "train.epochs": 1}
TEXT = {path: value if path == "data.dataset" else float(value) if "." in str(value) else int(value) for path, value in TEXT.items()}
LSTM = {"mos_lstm.embedding": 4, "mos_lstm.units": 5, "mos_lstm.last_units": 4, "mos_lstm.layers": 2, "mos_lstm.softmaxes": 2}


@pytest.fixture
def tiny_rows(monkeypatch):
  """The rows of PyramidNet and MoS, as small as can be."""
  rows = {
    "pyramidnet": _table_rows.ROWS["pyramidnet"]._replace(demo=TINY | {"pyramidnet.depth": 11, "pyramidnet.alpha": 4}),
    "lstm_mos": _table_rows.ROWS["lstm_mos"]._replace(demo=TEXT | LSTM),
  }
  monkeypatch.setattr(tables, "ROWS", types.MappingProxyType(rows))
  return rows


def run(*flags):
  return tables.main(["tables", *flags, "--pool.workers=1", cache_flag()] if "--run" in flags else ["tables", *flags])


def test_rows_are_trained_read_and_not_trained_again(tiny_rows, tmp_path, capsys):
  flags = ("--run", "--scale=demo", "--seeds=2", f"--workdir={tmp_path}")
  assert run(*flags) == 0
  out, markdown = capsys.readouterr().out, (tmp_path / "demo" / "tables.md").read_text()
  results = sorted(tmp_path.glob("demo/*/seed_*/**/result.json"))
  assert [str(path.relative_to(tmp_path / "demo").parent) for path in results] == [
    *(f"lstm_mos/seed_000{seed}/stage_{stage}" for seed in range(2) for stage in (1, 2)),
    *(f"pyramidnet/seed_000{seed}" for seed in range(2)),
  ]
  errors = [100 * (1 - json.loads(path.read_text())["test/accuracy"]) for path in results[4:]]
  perplexities = [json.loads(path.read_text())["test/perplexity"] for path in results[1:4:2]]
  for values in (errors, perplexities):
    assert f"| {sum(values) / 2:.2f} ± {abs(values[0] - values[1]) / 2**0.5:.2f} " in markdown
  assert not any(key.startswith("test/") for key in json.loads(results[0].read_text()))
  assert json.loads((results[1].with_name("config.json")).read_text())["config"]["start_from"] == str(results[0].parent)
  assert "digits (1,797 images" in markdown and "not run" not in markdown and "| PyramidNet + ShakeDrop " in out
  made = {path.name for path in (tmp_path / "demo").iterdir() if path.is_file()}
  assert made == {"tables.md", "tables.tex", *(f"table_{table}.{kind}" for table in ("cifar10", "ptb") for kind in ("png", "svg"))}
  before = [path.read_bytes() for path in results]
  assert run(*flags) == 0 and "complete: 4 of 4 trainings" in capsys.readouterr().out
  assert [path.read_bytes() for path in results] == before


def test_what_was_not_run_is_counted_and_told_how(tmp_path, capsys):
  assert run("--rows=nasnet_a,naonet_ptb", f"--workdir={tmp_path}") == 0
  out = capsys.readouterr().out
  assert "| not run " in out and "| 3,346,538 " in out and "| 27,295,000 " in out
  assert "tables --run=true --scale=published --rows=nasnet_a,naonet_ptb" in out


def test_another_training_and_damaged_files_are_refused(tiny_rows, tmp_path, capsys):
  flags = ("--run", "--scale=demo", "--rows=pyramidnet", f"--workdir={tmp_path}")
  assert run(*flags) == 0
  folder = tmp_path / "demo" / "pyramidnet" / "seed_0000"
  result, metrics = (folder / "result.json").read_text(), (folder / "metrics.jsonl").read_text()

  def refused(name, text):
    kept = (folder / name).read_text()
    (folder / name).write_text(text)
    assert run(*flags[1:]) == 2
    (folder / name).write_text(kept)
    return capsys.readouterr().err

  assert "metrics.jsonl has no last epoch with its seconds" in refused("metrics.jsonl", "")
  assert "holds weights -1" in refused("result.json", json.dumps(json.loads(result) | {"weights": -1}))
  assert "test/accuracy nan" in refused("result.json", json.dumps(json.loads(result) | {"test/accuracy": math.nan}))
  config = json.loads((folder / "config.json").read_text())
  config["config"]["pyramidnet.alpha"] = 5
  assert "it holds a training with pyramidnet.alpha 5, and its row has 4; move it away" in refused("config.json", json.dumps(config))
  assert run(*flags[1:]) == 0 and (folder / "metrics.jsonl").read_text() == metrics


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--rows=nasnet"], "--rows is nasnet; did you mean 'nasnet_a'?"),
    (["--rows=darts,darts"], "--rows is darts,darts; a row is given twice; give each once"),
    (["--scale=small"], "--scale is small; it can be demo, published."),
    (["--seeds=2"], "--seeds is 2; nothing is trained without --run, so leave it out, or give --run."),
    (["--run", "--seeds=0"], "--seeds is 0; it must be"),
  ],
)
def test_what_cannot_be(flags, sentence, tmp_path, capsys):
  assert tables.main(["tables", *flags, f"--workdir={tmp_path / 'run'}"]) == 2
  assert capsys.readouterr().err.startswith(f"error: {sentence}") and not (tmp_path / "run").exists()


@pytest.mark.parametrize("scale", _table_rows.SCALES)
@pytest.mark.parametrize("name", _table_rows.ROWS)
def test_the_presets_take_the_changes_of_every_row(name, scale):
  first, *later = _table_rows.stages(_table_rows.ROWS[name], scale, 3)
  assert first.seed == 3 and all(stage.model == first.model and stage.train.average_from_start for stage in later)
