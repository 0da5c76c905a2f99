"""A search on text and the retraining of what it found, through the launchers, in the smallest size that works."""

import json
import math

import pytest
from tiny_runs import TEXT_SEARCH, TEXT_TRAIN, contents, history, launch, lines, saved_steps

from dnas.cells.registries import LANGUAGE_GENOTYPES, SPACES
from dnas.core.space import NONE
from dnas.data import base, datasets, windows
from dnas.launchers import configs, train
from dnas.report.runs import load_run

SPACE = SPACES["darts_recurrent"]
UNITS = 4


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  folder = tmp_path_factory.mktemp("search") / "runs" / "first"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(base, "open_test", lambda *_: pytest.fail("the test set was opened"))
    assert launch("search", *TEXT_SEARCH, f"--workdir={folder}") == 0
  return folder


@pytest.fixture(scope="module")
def retrained(searched, tmp_path_factory):
  folder, opened, real = tmp_path_factory.mktemp("train") / "run", [], base.open_test
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(base, "open_test", lambda dataset, reason: opened.append((dataset.name, reason)) or real(dataset, reason))
    assert launch("train", *TEXT_TRAIN, f"--genotype={searched}", f"--workdir={folder}") == 0
  assert opened == [("synthetic_text", f"the training in {folder} has come to its end")]
  return folder


def parsed(text):
  return SPACE.parse(text)


def mixture(folder):
  return lines(folder / "architecture.jsonl")[0]["mixture"]["recurrent"]


def assert_perplexities(numbers, *splits):
  for split in splits:
    assert numbers[f"{split}/perplexity"] == pytest.approx(math.exp(numbers[f"{split}/loss"]), rel=1e-6) and numbers[f"{split}/loss"] > 0.5
  assert not any("accuracy" in name for name in numbers)


def test_a_run_says_at_once_what_it_is(searched, tmp_path, capsys):
  (tmp_path / "cell.txt").write_text((searched / "genotype.json").read_text())
  assert launch("train", *TEXT_TRAIN, "--train.epochs=1", f"--genotype={tmp_path / 'cell.txt'}", f"--workdir={tmp_path / 'run'}") == 0
  first, second, third, fourth, fifth = capsys.readouterr().out.splitlines()[:5]
  steps = lines(tmp_path / "run" / "metrics.jsonl")[0]["step"]
  what = f"training of {tmp_path / 'cell.txt'} in the space darts_recurrent: 1 epoch of {steps} steps"
  assert first == f"{what}; results in {tmp_path / 'run'}"
  assert second.startswith("synthetic_text: 400 words to train on") and third == f"network: {UNITS} units, 430 weights"
  assert fourth == "compiling the first step ..." and fifth.startswith("the first step took ")


def test_the_folder_of_a_search_holds_all_of_it(searched):
  config = json.loads((searched / "config.json").read_text())
  assert config["launcher"] == "search" and config["config"]["supernet.units"] == UNITS and config["config"]["shared_masks"] is True
  metrics, result, _ = history(searched)
  assert [line["epoch"] for line in metrics] == [1, 2] and saved_steps(searched) == [line["step"] for line in metrics]
  names = ["epoch", "step", "train/loss", "train/perplexity", "valid/loss", "valid/perplexity", "learning_rate"]
  for line in metrics:
    assert list(line)[: len(names)] == names and line["learning_rate"] == 20 and {"skips/recurrent", "entropy/recurrent"} <= set(line)
    assert_perplexities(line, "train", "valid")
  assert metrics[0]["step"] >= 49 / 6 and metrics[0]["step"] != metrics[1]["step"] / 2, "columns of 49 words, in windows of 6 words or 3"
  assert result["valid/perplexity"] == metrics[-1]["valid/perplexity"]
  assert result["genotype"] == json.loads((searched / "genotype.json").read_text())
  for line in lines(searched / "architecture.jsonl"):
    assert [len(row) for row in line["mixture"]["recurrent"]] == [5] * 36
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in line["mixture"]["recurrent"])
  pictures = {path.name for path in (searched / "pictures").iterdir()}
  assert {"learning_curves.png", "mixture_heatmaps.png", "mixture_lines.png"} < pictures and any("genotype" in name for name in pictures)
  (events,) = (path.read_bytes() for path in (searched / "tensorboard").iterdir())
  assert b"valid/perplexity" in events and b"train/perplexity" in events
  assert len(load_run(searched).metrics) == 2


def test_the_vocabulary_is_kept_with_the_run(searched, retrained):
  dataset = datasets.load_text("synthetic_text")
  assert (searched / "vocabulary.txt").read_text() == dataset.vocabulary.to_text() == (retrained / "vocabulary.txt").read_text()


def test_the_genotype_is_that_of_the_last_epoch_and_a_network_of_the_space(searched):
  assert (searched / "genotype.json").read_text() == (searched / "genotypes" / "epoch_0002.json").read_text()
  found = SPACE.validate(parsed((searched / "genotype.json").read_text()))
  nodes, concat = found["recurrent"].nodes, found["recurrent"].concat
  assert len(nodes) == 8 and concat == SPACE.concat and all(len(node) == 1 and node[0].operation != NONE for node in nodes)
  for given in (searched, searched / "genotype.json"):
    assert train.load_genotype(str(given), SPACE.name) == found


def test_the_same_command_again_changes_nothing_and_says_what_it_reads(searched, capsys):
  before = contents(searched)
  assert launch("search", *TEXT_SEARCH, f"--workdir={searched}") == 0
  assert contents(searched) == before
  out = capsys.readouterr().out
  assert out.splitlines()[1] == "synthetic_text: 400 words to train on and 1,200 to validate, vocabulary 22; unknown: valid 0 (0.0 %)"
  assert "resumed after step " in out and "found: Genotype(recurrent=[(" in out
  assert f"dnas train --space=darts_recurrent --data.dataset=synthetic_text --data.tokens=400 --genotype={searched} " in out


def test_retraining_tests_once_with_the_best_weights(retrained, searched, monkeypatch, capsys):
  metrics, result, _ = history(retrained)
  assert_perplexities(result, "test", "train", "valid")
  losses = [line["valid/loss"] for line in metrics]
  assert len(losses) == 4 and result["best/epoch"] == 1 + losses.index(min(losses))
  assert result["best/valid_perplexity"] == pytest.approx(math.exp(min(losses)), rel=1e-6)
  assert abs(result["test/loss"] - min(losses)) < 0.5, "of the same chain as the validation text"
  averaging = [line.get("averaging", 0.0) for line in metrics]
  assert averaging == sorted(averaging) and averaging[:2] == [0, 0] and averaging[-1] == 1, "on from the first loss that is no better"
  vocabulary, nodes = 22, 8
  assert result["weights"] == vocabulary * (UNITS + 1) + 2 * UNITS * 2 * UNITS + nodes * UNITS * 2 * UNITS
  assert result["genotype"] == json.loads((retrained / "genotype.json").read_text()) == json.loads((searched / "genotype.json").read_text())
  assert (retrained / "pictures" / "learning_curves.png").exists() and not (retrained / "architecture.jsonl").exists()

  before = contents(retrained)
  monkeypatch.setattr(base, "open_test", lambda *_: pytest.fail("the test set was opened again"))
  assert launch("train", *TEXT_TRAIN, f"--genotype={searched}", f"--workdir={retrained}") == 0
  assert contents(retrained) == before
  out = capsys.readouterr().out
  assert f"\ntest perplexity {result['test/perplexity']:.2f}  test loss {result['test/loss']:.4f}  weights 430  408 multiply-adds\n" in out


def test_second_order_searches_run_with_shared_and_with_fresh_masks(searched, tmp_path):
  flags = (*TEXT_SEARCH, "--darts.epochs=1", "--hypergradient=finite_difference")
  assert launch("search", *flags, f"--workdir={tmp_path / 'shared'}") == 0
  assert launch("search", *flags, "--shared_masks=false", f"--workdir={tmp_path / 'fresh'}") == 0
  first, shared, fresh = (mixture(folder) for folder in (searched, tmp_path / "shared", tmp_path / "fresh"))
  assert first != shared != fresh != first
  assert lines(tmp_path / "shared" / "metrics.jsonl")[0]["train/loss"] != lines(tmp_path / "fresh" / "metrics.jsonl")[0]["train/loss"]


def test_genotypes_by_name_seed_and_file(tmp_path):
  for name in LANGUAGE_GENOTYPES:
    genotype = LANGUAGE_GENOTYPES[name]
    assert train.load_genotype(name, SPACE.name) == genotype
    for text in (genotype.to_json(), str(genotype)):
      (tmp_path / "cell.txt").write_text(text + "\n")
      assert train.load_genotype(str(tmp_path / "cell.txt"), SPACE.name) == genotype
  first, again, another = (train.load_genotype(f"random:{seed}", SPACE.name) for seed in (3, 3, 4))
  assert first == again != another and first.space == SPACE.name and SPACE.validate(first)
  assert train.load_genotype("DARTS_V2") != train.load_genotype("DARTS_V2", SPACE.name), "the space says which"


def test_a_cell_of_more_nodes_than_the_space_retrains(tmp_path):
  assert launch("train", *TEXT_TRAIN, "--train.epochs=1", "--genotype=ENAS", f"--workdir={tmp_path / 'run'}") == 0
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["weights"] == 22 * (UNITS + 1) + 2 * UNITS * 2 * UNITS + 11 * UNITS * 2 * UNITS
  assert parsed(json.dumps(result["genotype"])) == LANGUAGE_GENOTYPES["ENAS"]
  assert result["best/epoch"] == 1 and result["test/perplexity"] < math.inf


@pytest.mark.parametrize("config", [configs.LanguageSearchConfig(), configs.LanguageTrainConfig()], ids=["search", "train"])
def test_the_defaults_fit_the_text_that_needs_no_download(config):
  dataset = datasets.text_from_config(config.data)
  assert config.data.data_dir == "" and windows.TrainingWindows(dataset.train, config.data, seed=0).end_of_epoch(1) > 5
  windows.ValidationWindows(dataset.valid, config.data)(0)


def test_characters_are_tokens_too(searched, tmp_path, capsys):
  flags = (*TEXT_TRAIN, "--train.epochs=1", "--data.level=character", f"--genotype={searched}")
  assert launch("train", *flags, f"--workdir={tmp_path / 'run'}") == 0
  kept = (tmp_path / "run" / "vocabulary.txt").read_text().splitlines()
  assert {"t", "h", " ", "<eos>", "<unk>"} < set(kept) and all(len(token) == 1 or token in ("<eos>", "<unk>") for token in kept)
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["weights"] == len(kept) * (UNITS + 1) + 2 * UNITS * 2 * UNITS + 8 * UNITS * 2 * UNITS
  valid = datasets.load_text("synthetic_text", level="character").valid
  assert f"400 characters to train on and {len(valid):,} to validate, vocabulary {len(kept)}" in capsys.readouterr().out
