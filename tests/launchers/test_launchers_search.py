"""A search and the retraining of what it found, through the launchers, in the smallest size that works."""

import datetime
import json
import math
import re
import shutil
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tiny_runs import SEARCH, STEPS, TRAIN, contents, history, launch, lines

from dnas.cells import functional
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import tree
from dnas.core.errors import InputError
from dnas.data import base, datasets, synthetic
from dnas.launchers import train
from dnas.report.runs import load_run
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.supernet.image_supernet import Config, ImageSupernet

SPACE = SPACES["darts_conv"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  folder = tmp_path_factory.mktemp("search") / "runs" / "first"
  assert launch("search", *SEARCH, f"--workdir={folder}") == 0
  return folder


@pytest.fixture(scope="module")
def retrained(searched, tmp_path_factory):
  folder = tmp_path_factory.mktemp("train") / "run"
  assert launch("train", *TRAIN, f"--genotype={searched}", f"--workdir={folder}") == 0
  return folder


def parsed(text):
  return SPACE.parse(text)


def test_the_folder_of_a_search_holds_all_of_it(searched):
  config = json.loads((searched / "config.json").read_text())
  assert config["launcher"] == "search" and config["config"]["supernet.channels"] == 2 and config["config"]["darts.epochs"] == 2
  metrics, result, _ = history(searched)
  assert [(line["epoch"], line["step"]) for line in metrics] == [(1, STEPS), (2, 2 * STEPS)]
  names = {"train/loss", "train/accuracy", "valid/loss", "valid/accuracy", "learning_rate"}
  assert all(names <= line.keys() and 0 <= line["valid/accuracy"] <= 1 for line in metrics)
  assert metrics[0]["learning_rate"] == pytest.approx(0.025)
  assert result["valid/loss"] == metrics[-1]["valid/loss"] and result["genotype"] == json.loads((searched / "genotype.json").read_text())
  for line in lines(searched / "architecture.jsonl"):
    for cell in SPACE.cells:
      assert len(line["mixture"][cell]) == len(SPACE.edges)
      assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in line["mixture"][cell])
  steps = {int(path.name) for path in (searched / "checkpoints").iterdir() if path.name.isdecimal()}
  assert steps == {STEPS, 2 * STEPS}
  pictures = {path.name for path in (searched / "pictures").iterdir()}
  assert {"learning_curves.png", "mixture_heatmaps.png", "mixture_lines.png"} < pictures and any("genotype" in name for name in pictures)
  assert all(path.stat().st_size > 500 for path in (searched / "tensorboard").iterdir())
  assert len(load_run(searched).metrics) == 2


def test_the_genotype_is_that_of_the_last_epoch_and_a_network_of_the_space(searched):
  assert [path.name for path in sorted((searched / "genotypes").iterdir())] == ["epoch_0001.json", "epoch_0002.json"]
  assert (searched / "genotype.json").read_text() == (searched / "genotypes" / "epoch_0002.json").read_text()
  found = SPACE.validate(parsed((searched / "genotype.json").read_text()))
  assert all(len(node) == SPACE.edges_per_node for _, cell in found.cells for node in cell.nodes)
  assert train.load_genotype(str(searched)) == found == train.load_genotype(str(searched / "genotype.json"))


def test_the_same_command_again_changes_nothing(searched, capsys):
  before = contents(searched)
  assert launch("search", *SEARCH, f"--workdir={searched}") == 0
  assert contents(searched) == before
  out = capsys.readouterr().out
  assert "compiling" not in out and "first step" not in out
  assert f"resumed after step {2 * STEPS} of {2 * STEPS}" in out and "found: Genotype(normal=[" in out and f"--genotype={searched}" in out


def test_the_curves_have_the_time_axis_of_the_run_also_where_they_are_written_again(searched, tmp_path):
  folder = shutil.copytree(searched, tmp_path / "run")
  (folder / "result.json").unlink()  # it was killed just before the end
  assert launch("search", *SEARCH, f"--workdir={folder}") == 0
  created = datetime.datetime.fromisoformat(json.loads((folder / "config.json").read_text())["created"]).timestamp()
  wanted = [created + line["seconds"] for line in lines(folder / "metrics.jsonl")]
  files = list((folder / "tensorboard").iterdir())
  assert len(files) == 2
  for file in files:
    assert sorted({event.wall_time for event in _events(file.read_bytes()) if event.summary.value}) == pytest.approx(wanted, abs=1e-6)


def _events(data):
  while data:
    (size,) = struct.unpack("<Q", data[:8])
    yield Event.FromString(data[12 : 12 + size])
    data = data[16 + size :]


def test_another_configuration_in_the_same_folder_is_refused(searched, capsys):
  before = contents(searched)
  assert launch("search", *SEARCH, "--darts.momentum=0.8", f"--workdir={searched}") == 2
  assert "darts.momentum: 0.9 -> 0.8" in capsys.readouterr().err
  assert launch("train", *TRAIN, f"--workdir={searched}") == 2
  assert "belongs to a run of 'search'" in capsys.readouterr().err
  assert contents(searched) == before


def test_a_new_run_of_the_same_seed_is_the_same_prints_every_epoch_and_opens_no_test_set(searched, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(base, "open_test", lambda *_: pytest.fail("the test set was opened"))
  assert launch("search", *SEARCH, f"--workdir={tmp_path / 'run'}") == 0
  assert history(tmp_path / "run") == history(searched)
  out = capsys.readouterr().out
  assert [f"epoch {epoch}/2" in out for epoch in (1, 2, 3)] == [True, True, False] and "\x1b" not in out
  data = datasets.load("synthetic")
  (*shape, channels), rng = data.train.images.shape[1:], np.random.default_rng(0)
  supernet = ImageSupernet(Config(channels=2, cells=1), SPACE, channels, data.num_classes, rng)
  begins = f"""search by darts (first_order) in the space darts_conv: 2 epochs of {STEPS} steps; results in {tmp_path / "run"}
synthetic: 256 images of {shape[0]}x{shape[1]}x{channels} to train on and 256 to validate, {data.num_classes} classes
supernet: 2 channels, 1 cell, {tree.size(functional.split(supernet)[1].weights):,} weights
compiling the first step ...
the first step took """
  assert out.startswith(begins)
  assert re.match(r"\d+\.\d s\nepoch 1/2 .*  entropy \d\.\d{3}, \d+\.\d % of uniform  ", out.removeprefix(begins))


def test_retraining_says_at_once_what_runs(searched, tmp_path, capsys):
  assert launch("train", *TRAIN, f"--genotype={searched}", f"--workdir={tmp_path / 'run'}") == 0
  weights = json.loads((tmp_path / "run" / "result.json").read_text())["weights"]
  first, second, third, fourth = capsys.readouterr().out.splitlines()[:4]
  assert first == f"training of {searched} in the space darts_conv: 1 epoch of {2 * STEPS} steps; results in {tmp_path / 'run'}"
  assert second.startswith("synthetic: 512 images of ") and "to validate" not in second
  assert third == f"network: 2 channels, 1 cell, {weights:,} weights" and fourth == "compiling the first step ..."


def test_retraining_tests_once(retrained, searched, monkeypatch, capsys):
  result = json.loads((retrained / "result.json").read_text())
  assert 0 <= result["test/accuracy"] <= 1 and result["test/loss"] > 0 and result["weights"] > 0
  assert result["genotype"] == json.loads((retrained / "genotype.json").read_text()) == json.loads((searched / "genotype.json").read_text())
  assert "test/accuracy" not in lines(retrained / "metrics.jsonl")[0] and not (retrained / "architecture.jsonl").exists()
  before = contents(retrained)
  monkeypatch.setattr(base, "open_test", lambda *_: pytest.fail("the test set was opened again"))
  assert launch("train", *TRAIN, f"--genotype={searched}", f"--workdir={retrained}") == 0
  assert contents(retrained) == before
  assert f"test error {100 * (1 - result['test/accuracy']):.2f} %" in capsys.readouterr().out


DAMAGED_RESULTS = ["", "{}", '{"genotype": {"spa', "[1]", '{"weights": 3, "test/loss": 1.0, "test/accuracy": "high"}', "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED_RESULTS)
def test_no_damaged_result_is_read(tmp_path, text):
  (tmp_path / "result.json").write_text(text)
  with pytest.raises(InputError, match=r"result\.json: .*; delete it and give the same command again, which writes it anew\.$"):
    train.read_result(tmp_path)


def test_a_damaged_result_is_named_and_made_anew(retrained, searched, tmp_path, capsys):
  folder = shutil.copytree(retrained, tmp_path / "run")
  (folder / "result.json").write_text("{}")
  flags = (*TRAIN, f"--genotype={searched}", f"--workdir={folder}")
  assert launch("train", *flags) == 2
  err = capsys.readouterr().err
  assert err.startswith(f"error: {folder / 'result.json'}: field 'weights' is missing") and err.count("\n") == 1
  (folder / "result.json").unlink()
  assert launch("train", *flags) == 0 and (folder / "result.json").read_bytes() == (retrained / "result.json").read_bytes()


def test_the_folder_of_a_retraining_remembers_the_architecture_itself(retrained, capsys):
  config = json.loads((retrained / "config.json").read_text())["config"]
  assert parsed(config["architecture"]) == parsed((retrained / "genotype.json").read_text())
  assert launch("train", *TRAIN, "--genotype=DARTS_V1", f"--workdir={retrained}") == 2
  assert "genotype: " in capsys.readouterr().err


def test_the_test_set_is_opened_once_with_a_reason(searched, tmp_path, monkeypatch):
  reasons, real = [], base.open_test
  monkeypatch.setattr(base, "open_test", lambda dataset, reason: reasons.append(reason) or real(dataset, reason))
  assert launch("train", *TRAIN, f"--genotype={searched}", f"--workdir={tmp_path / 'run'}") == 0
  assert len(reasons) == 1 and str(tmp_path / "run") in reasons[0]


def test_genotypes_by_name_seed_and_file(tmp_path):
  for name in IMAGE_GENOTYPES:
    assert train.load_genotype(name) == IMAGE_GENOTYPES[name]
  assert train.load_genotype("random:3") == train.load_genotype("random:3") != train.load_genotype("random:4")
  for text in (IMAGE_GENOTYPES["DARTS_V2"].to_json(), str(IMAGE_GENOTYPES["DARTS_V2"])):
    (tmp_path / "cell.txt").write_text(text + "\n")
    assert train.load_genotype(str(tmp_path / "cell.txt")) == IMAGE_GENOTYPES["DARTS_V2"]
  with pytest.raises(InputError, match="holds no genotype.json"):
    train.load_genotype(str(tmp_path))


def test_a_validation_loss_that_is_not_finite_ends_the_search(searched, tmp_path, monkeypatch, capsys):
  whole, calls = ImageWorkload.evaluate, []

  def evaluate(self, *args, **options):
    calls.append(args)
    return whole(self, *args, **options) | ({"loss": math.nan} if len(calls) > 1 else {})

  monkeypatch.setattr(ImageWorkload, "evaluate", evaluate)
  assert launch("search", *SEARCH, f"--workdir={tmp_path / 'run'}") == 1
  err = capsys.readouterr().err
  assert err.startswith(f"error: the validation loss of epoch 2 is nan; the last good checkpoint, of step {STEPS}, is kept in ")
  assert err.count("\n") == 1 and not (tmp_path / "run" / "genotype.json").exists()
  assert lines(tmp_path / "run" / "metrics.jsonl")[0].keys() == lines(searched / "metrics.jsonl")[0].keys()
  assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 1


def test_a_folder_from_before_a_field_existed_goes_on(searched, tmp_path, capsys):
  shutil.copytree(searched, tmp_path / "run")
  path = tmp_path / "run" / "config.json"
  description = json.loads(path.read_text())
  for field in ("data.split", "data.split_seed", "data.class_weights"):
    del description["config"][field]
  path.write_text(json.dumps(description))
  assert launch("search", *SEARCH, f"--workdir={tmp_path / 'run'}") == 0
  assert "resumed after step" in capsys.readouterr().out and history(tmp_path / "run") == history(searched)
  assert launch("search", *SEARCH, "--data.split=shuffled", f"--workdir={tmp_path / 'run'}") == 2
  assert "data.split:  -> shuffled" in capsys.readouterr().err


def test_accuracy_by_class_is_in_every_record_and_in_no_line(searched, retrained, capsys):
  assert launch("search", *SEARCH, f"--workdir={searched}") == 0
  assert "accuracy_by_class" not in capsys.readouterr().out
  searches, result = lines(searched / "metrics.jsonl"), json.loads((retrained / "result.json").read_text())
  for metrics, split in [*((line, "valid") for line in searches), (result, "test")]:
    each = [metrics[f"{split}/accuracy_by_class/{name}"] for name in synthetic.COLOURS]
    assert metrics[f"{split}/balanced_accuracy"] == pytest.approx(sum(each) / 4) == metrics[f"{split}/accuracy"]  # a balanced set


def test_second_order_searches_run(searched, tmp_path):
  flags = ("--darts.epochs=1", "--hypergradient=finite_difference", "--darts.diagnose_every=1")
  assert launch("search", *SEARCH, *flags, f"--workdir={tmp_path / 'run'}") == 0
  first_order, second_order = (lines(folder / "architecture.jsonl")[0]["mixture"] for folder in (searched, tmp_path / "run"))
  assert first_order["reduce"] != second_order["reduce"]
  (diagnosed,) = lines(tmp_path / "run" / "metrics.jsonl")
  assert math.isfinite(diagnosed["eigenvalue"]) and "eigenvalue" not in lines(searched / "metrics.jsonl")[-1]


def test_a_folder_may_be_given_by_the_home_directory(monkeypatch, tmp_path, capsys):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.tex").touch()
  assert launch("search", *SEARCH, "--workdir=~/full") == 2
  assert f"{tmp_path}/full holds 'thesis.tex'" in capsys.readouterr().err
