"""A data set of a user's own, by the file that its page shows, through the launchers."""

import json
import sys

import numpy as np
import pytest
from own_pages import file_of
from tiny_runs import SEARCH, TRAIN, launch, lines

from dnas.data import base, synthetic

SORTED = np.repeat(np.arange(4), 96)
OWN = ("--data.dataset=flowers", "--data.crop_padding=0")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
  """The file of the page."""
  return file_of("data_set", tmp_path_factory.mktemp("own"))


@pytest.fixture
def run(script, monkeypatch, capsys):
  """Runs a launcher with the file on training labels in order, with images whose classes are easy to tell; returns what was said."""

  def run(launcher, labels, workdir, *flags):
    easy = synthetic._draw(4 * len(labels), seed=5)
    of_class = [easy.images[easy.labels == label] for label in range(4)]
    images = np.stack([of_class[int(label) % 4][number] for number, label in enumerate(labels)])
    for part in ("train", "test"):
      np.savez(script.parent / f"{part}.npz", images=images, labels=labels)
    own = (*OWN, f"--data.data_dir={script.parent}", f"--workdir={workdir}", *flags)
    with monkeypatch.context() as patch:
      patch.setattr(base.DATASETS, "_units", dict(base.DATASETS._units))  # it registers its set anew
      patch.setattr(sys, "path", list(sys.path))
      status = launch(launcher, f"--imports={script}", *(SEARCH if launcher == "search" else TRAIN), *own)
      del sys.modules[script.stem]
    return status, capsys.readouterr()

  return run


def test_a_set_that_is_sorted_by_class_is_searched_and_retrained(run, tmp_path):
  status, said = run("search", SORTED, tmp_path / "search", "--darts.epochs=4", "--darts.learning_rate=0.1")
  assert status == 0, said.err
  last = lines(tmp_path / "search" / "metrics.jsonl")[-1]
  assert last["valid/accuracy"] > 0.9, "by the order of the set it was 0: no class of the validation part had been trained"
  assert last["valid/balanced_accuracy"] == pytest.approx(last["valid/accuracy"]), "every class has its share in the validation part"
  flags = (f"--genotype={tmp_path / 'search'}", "--data.class_weights=balanced", "--train.learning_rate=0.1", "--data.examples=200")
  status, said = run("train", SORTED, tmp_path / "train", *flags)
  assert status == 0, said.err
  result = json.loads((tmp_path / "train" / "result.json").read_text())
  assert {f"test/accuracy_by_class/{name}" for name in ("daisy", "poppy", "rose", "tulip")} < result.keys()
  assert f"test balanced error {100 * (1 - result['test/balanced_accuracy']):.2f} %" in said.out


@pytest.mark.parametrize(
  ("labels", "flags", "sentence"),
  [
    (SORTED, ["--data.split=contiguous"], "--data.split is contiguous; the training part of 'flowers' has no example of the class 'rose'"),
    (SORTED + 1, [], "the data set 'flowers' has labels from 1 to 4 in its training split, and 96 of them are above 3; with 4"),
    (SORTED - 1, [], "labels go from -1 to 2, and must count from 0; subtract the smallest."),
    (SORTED / 1.0, [], "labels are float64, and must be integers that count from 0; convert them by .astype(np.int32)."),
  ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(run, workdir, labels, flags, sentence):
  status, said = run("search", labels, workdir, *flags)
  assert status == 2 and said.out == "" and said.err.startswith(f"error: {sentence}") and said.err.count("\n") == 1
