"""Run folders are read back whole, and broken ones are refused with a sentence that says where."""

import json
import shutil

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.core.genotype import parse
from dnas.report.runs import load_run


def test_reads_everything_that_was_written(write_run, darts):
  folder = write_run(darts, epochs=3)
  run = load_run(folder)
  assert (run.launcher, run.versions, run.config) == ("search", {"jax": "0.10"}, {"darts.seed": 3})
  assert [line["epoch"] for line in run.metrics] == [1, 2, 3]
  assert [epoch for epoch, _ in run.genotypes] == [1, 2, 3]
  assert run.genotype == parse((folder / "genotype.json").read_text())
  np.testing.assert_array_equal(run.mixture_epochs, [0, 1, 2, 3])
  for cell, mixture in run.mixtures.items():
    written = [json.loads(line)["mixture"][cell] for line in (folder / "architecture.jsonl").read_text().splitlines()]
    assert mixture.shape == (4, 14, 8)
    np.testing.assert_array_equal(mixture, written)


def test_series_skips_epochs_without_the_metric(write_run, darts):
  folder = write_run(darts, epochs=1)
  with open(folder / "metrics.jsonl", "a") as file:
    file.write('{"epoch": 2, "train/loss": 0.5}\n{"epoch": 3, "train/loss": 0.25, "valid/loss": NaN}\n')
  run = load_run(folder)
  epochs, values = run.series("valid/loss")
  np.testing.assert_array_equal(epochs, [1, 3])
  assert np.isnan(values[1])
  np.testing.assert_array_equal(run.series("train/loss")[1][1:], [0.5, 0.25])
  assert all(len(part) == 0 for part in run.series("valid/perplexity"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "architecture.jsonl"])
def test_a_half_written_last_line_is_ignored(write_run, darts, name):
  folder = write_run(darts, epochs=3)
  text = (folder / name).read_text()
  (folder / name).write_text(text[: -len(text.splitlines()[-1]) // 2])
  run = load_run(folder)
  epochs = [line["epoch"] for line in run.metrics] if name == "metrics.jsonl" else run.mixture_epochs.tolist()
  assert epochs == ([1, 2] if name == "metrics.jsonl" else [0, 1, 2])


def test_a_broken_line_elsewhere_is_named(write_run, darts):
  folder = write_run(darts, epochs=3)
  lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
  (folder / "metrics.jsonl").write_text(lines[0] + lines[1][:20] + "\n" + lines[2])
  with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: not valid JSON"):
    load_run(folder)


def test_the_later_of_two_lines_of_an_epoch_counts(write_run, darts):
  folder = write_run(darts, epochs=2)
  with open(folder / "metrics.jsonl", "a") as file:
    file.write('{"epoch": 2, "train/loss": 7.0}\n{"epoch": 3, "train/loss": 8.0}\n')
  epochs, values = load_run(folder).series("train/loss")
  np.testing.assert_array_equal(epochs, [1, 2, 3])
  np.testing.assert_array_equal(values[1:], [7.0, 8.0])


def test_a_run_killed_before_its_first_epoch_has_nothing(write_run, darts):
  folder = write_run(darts, epochs=1)
  for name in ("metrics.jsonl", "architecture.jsonl", "genotype.json"):
    (folder / name).unlink()
  shutil.rmtree(folder / "genotypes")
  run = load_run(folder)
  assert (run.metrics, run.genotypes, run.genotype, run.mixtures) == ((), (), None, {})


def test_a_running_search_has_the_genotype_of_its_last_epoch(write_run, darts):
  folder = write_run(darts, epochs=2)
  (folder / "genotype.json").unlink()
  run = load_run(folder)
  assert run.genotype == run.genotypes[-1][1]


def test_missing_folders_are_refused(tmp_path):
  with pytest.raises(InputError) as caught:
    load_run(tmp_path / "nowhere")
  assert str(caught.value) == f"run folder '{tmp_path / 'nowhere'}' does not exist; give the folder that a search or a training wrote."
  with pytest.raises(InputError, match=r"has no config\.json; give the folder"):
    load_run(tmp_path)


@pytest.mark.parametrize(
  ("name", "text", "match"),
  [
    ("config.json", "{", r"config\.json: not valid JSON"),
    ("config.json", "[1]", r"config\.json: '\[1\]' is not a JSON object"),
    ("config.json", '{"launcher": "search", "versions": {}}', "field 'config' is missing"),
    ("config.json", '{"launcher": "search", "versions": [1], "config": {}}', r"field 'versions' is \[1\]"),
    ("config.json", '{"a": ' * 20_000, r"config\.json: not valid JSON, .* nested too deeply"),
    ("metrics.jsonl", '{"step": 3}\n', r"metrics\.jsonl, line 1: 'epoch' is None"),
    ("metrics.jsonl", '{"epoch": 1, "train/loss": "low"}\n', "epoch 1: 'train/loss' is 'low'; give a number"),
    ("metrics.jsonl", b"\xff\xfe\x00", r"metrics\.jsonl is not text in UTF-8 \(byte 1 is 0xff\)"),
    ("architecture.jsonl", '{"epoch": 0}\n', "epoch 0: 'mixture' is None"),
    ("architecture.jsonl", '{"epoch": 0, "mixture": {"normal": [[1, 0], [1]]}}\n', "the weights do not have the shape of other epochs"),
    (
      "architecture.jsonl",
      '{"epoch": 0, "mixture": {"normal": [[1]]}}\n{"epoch": 1, "mixture": {"reduce": [[1]]}}\n',
      "cell 'normal' has weights in 1 of 2 epochs",
    ),
    ("genotype.json", '{"cells": {}}', r"genotype\.json: field 'cells' is missing or empty"),
    ("genotypes/epoch_0002.json", '{"cells"', r"epoch_0002\.json: not valid JSON"),
  ],
)
def test_wrong_contents_are_refused(write_run, darts, name, text, match):
  folder = write_run(darts, epochs=2)
  (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(InputError, match=match) as caught:
    load_run(folder)
  assert str(caught.value).endswith(".")
