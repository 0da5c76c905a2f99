"""Trained image networks put to use: read back, tested again, exported, fine-tuned, trained for longer."""

import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import bits
from tiny_runs import DATA, final_bits, history, launch, lines, refusal

import dnas
from dnas.data import base, datasets
from dnas.run import readings

SIZE = ("--network.channels=2", "--network.cells=1", "--network.auxiliary=false", "--data.train_portion=0.5")
RATES = ("--train.schedule=constant", "--train.drop_path=0", "--train.learning_rate=0.01")
TRAIN = (*DATA, *SIZE, *RATES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("use") / "run"
  assert launch("train", *TRAIN, "--train.epochs=2", f"--workdir={folder}") == 0
  return folder


@pytest.fixture
def valid():
  dataset = datasets.load("synthetic")
  return base.search_split(dataset, base.Config(dataset="synthetic", train_portion=0.5))[1]


def result_of(folder, prefix):
  result = json.loads((folder / "result.json").read_text())
  return {name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)}


def test_predictions_are_those_of_the_training_s_own_validation(model, trained, valid):
  probabilities = model.predict(valid.images)
  assert probabilities.shape == (len(valid), 4) and np.allclose(probabilities.sum(-1), 1, atol=1e-6)
  found = result_of(trained, "valid/")
  assert (probabilities.argmax(-1) == valid.labels).mean() == pytest.approx(found["accuracy"], abs=1e-7)
  chosen = probabilities[np.arange(len(valid)), valid.labels].astype(np.float64)
  assert -np.log(chosen).mean() == pytest.approx(found["loss"], rel=1e-5)
  assert model.class_names == datasets.load("synthetic").class_names and isinstance(model, dnas.ImageClassifier)


def test_any_number_of_images_is_one_program(model, valid, compilations):
  whole = model.predict(valid.images, 16)
  with compilations() as compiled:
    parts = [model.predict(valid.images[:3], 16), model.predict(valid.images[3:], 16)]
  assert not compiled and np.concatenate(parts).tobytes() == whole.tobytes()


def test_the_folder_alone_is_enough_and_an_older_one_reads_its_data(model, copy, valid, monkeypatch):
  (copy / "data.json").unlink()
  assert bits(dnas.load_run(copy).logits(valid.images[:5])) == bits(model.logits(valid.images[:5]))

  def gone(config):
    raise dnas.InputError("the data are gone")

  monkeypatch.setattr(datasets, "from_config", gone)
  with pytest.raises(dnas.InputError, match="the data are gone"):
    dnas.load_run(copy)
  (copy / "data.json").write_text(model.about.to_json())
  assert bits(dnas.load_run(copy).logits(valid.images[:5])) == bits(model.logits(valid.images[:5]))
  (copy / "data.json").write_text(model.about.to_json().replace("mean", "median"))
  with pytest.raises(dnas.InputError, match="data.json holds .*; give the file that the launcher wrote."):
    dnas.load_run(copy)


@pytest.mark.parametrize("split", ["test", "valid"])
def test_a_test_repeats_the_numbers_of_the_training_and_counts(split, copy, model, valid, capsys):
  assert launch("test", f"--run={copy}", f"--split={split}") == 0
  said, found = capsys.readouterr().out, json.loads((copy / "tests" / f"synthetic_{split}.json").read_text())
  own = result_of(copy, f"{split}/")
  assert {name: found[name] for name in own} == own
  dataset = datasets.load("synthetic")
  examples = valid if split == "valid" else base.open_test(dataset, "a test of it")
  counts = np.zeros((4, 4), int)
  np.add.at(counts, (examples.labels, model.predict(examples.images).argmax(-1)), 1)
  assert found["confusion"] == counts.tolist() and counts.sum() == len(examples)
  assert all((copy / "tests" / f"synthetic_{split}.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))
  kept = readings.load(copy)
  assert len(kept) == (2 if split == "test" else 1)
  assert all(line["numbers"] == result_of(copy, "test/") and line["dataset"] == "synthetic" and line["command"] for line in kept)
  assert ("test sets were read 2 times: synthetic 2" in said) == (split == "test") and "| red " in said


def test_classes_of_another_set_are_known_by_their_names(copy, monkeypatch):
  plain = datasets.load("synthetic")

  def mirrored(split):
    return base.Split(split.images, 3 - split.labels)

  names, read = plain.class_names[::-1], lambda: mirrored(base.open_test(plain, "a test of it"))
  other = dataclasses.replace(plain, train=mirrored(plain.train), class_names=names, _read_test=read)
  monkeypatch.setattr(datasets, "from_config", lambda config: other)
  assert launch("test", f"--run={copy}", f"--workdir={copy / 'elsewhere'}") == 0
  found = json.loads((copy / "elsewhere" / "synthetic_test.json").read_text())
  own = result_of(copy, "test/")
  assert {name: found[name] for name in own} == own and tuple(found["class_names"]) == plain.class_names


ALONE = """
import sys
for name in ("dnas", "flax", "optax", "orbax", "chex"):
  sys.modules[name] = None
import jax.export, numpy
network = jax.export.deserialize(bytearray(open(sys.argv[1] + "/network.jax", "rb").read()))
images = numpy.load(sys.argv[1] + "/images.npy")
numpy.save(sys.argv[1] + "/logits.npy", numpy.concatenate([network.call(images[:3]), network.call(images[3:])]))
print(network.platforms)
"""


def test_an_artifact_gives_the_same_logits_with_jax_alone(model, trained, tmp_path, valid):
  pytest.importorskip("flatbuffers")
  assert launch("export", f"--run={trained}", "--format=jax", f"--workdir={tmp_path}") == 0
  np.save(tmp_path / "images.npy", valid.images[:10])
  done = subprocess.run([sys.executable, "-c", ALONE, tmp_path], capture_output=True, text=True, timeout=120, cwd=tmp_path)
  assert done.returncode == 0 and "('cpu', 'cuda', 'tpu')" in done.stdout, done.stderr
  np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.logits(valid.images[:10]), rtol=1e-5, atol=1e-6)
  assert 'jax.export.deserialize(bytearray(open("network.jax"' in (tmp_path / "README.md").read_text()


def test_a_checkpoint_of_orbax_holds_the_arrays(model, trained, tmp_path):
  import orbax.checkpoint as ocp

  for _ in range(2):  # the second time there is one
    assert launch("export", f"--run={trained}", "--format=orbax", f"--workdir={tmp_path / 'out'}") == 0
  with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.restore(tmp_path / "out" / "orbax")
  assert bits(found) == bits({"weights": model.variables.weights, "stats": model.variables.stats})
  about = json.loads((tmp_path / "out" / "about.json").read_text())
  assert (about["image_shape"], tuple(about["class_names"])) == (list(model.about.image_shape), model.class_names)
  assert len(about["mean"]) == len(about["std"]) == 3


def test_safetensors_hold_the_arrays_by_dotted_paths(model, trained, tmp_path):
  numpy = pytest.importorskip("safetensors.numpy")
  assert launch("export", f"--run={trained}", "--format=safetensors", f"--workdir={tmp_path}") == 0
  found = numpy.load_file(tmp_path / "network.safetensors")
  assert found["weights.classifier.kernel"].tobytes() == np.asarray(model.variables.weights["classifier"]["kernel"]).tobytes()
  assert len(found) == len(jax.tree.leaves(model.variables))


def test_a_format_whose_package_is_missing(trained, tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "safetensors", None)
  monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
  said = refusal(capsys, "export", tmp_path, f"--run={trained}", "--format=safetensors")
  assert said == (
    "the format safetensors needs the package safetensors, which is not installed; pip install safetensors, or give another format."
  )


def test_frozen_training_changes_the_classifier_alone(model, trained, tmp_path):
  flags = (*DATA, *SIZE, "--train.schedule=constant", "--train.learning_rate=0.1", "--train.epochs=1", f"--start_from={trained}")
  assert launch("train", *flags, "--train.freeze", f"--workdir={tmp_path / 'frozen'}") == 0
  before, after = (dict(jax.tree_util.tree_leaves_with_path(one.variables)) for one in (model, dnas.load_run(tmp_path / "frozen")))
  changed = {jax.tree_util.keystr(path) for path in before if bits(before[path]) != bits(after[path])}
  assert changed == {".weights['classifier']['kernel']", ".weights['classifier']['bias']"}
  assert launch("train", *flags, "--train.drop_path=0", f"--workdir={tmp_path / 'free'}") == 0
  free = dict(jax.tree_util.tree_leaves_with_path(dnas.load_run(tmp_path / "free").variables))
  assert sum(bits(before[path]) != bits(free[path]) for path in before) > len(before) / 2


def test_a_longer_training_ends_with_the_bits_of_an_unbroken_one(copy, tmp_path, capsys):
  assert launch("train", *TRAIN, "--train.epochs=4", f"--workdir={tmp_path / 'whole'}") == 0
  capsys.readouterr()
  assert launch("train", *TRAIN, "--train.epochs=4", f"--workdir={copy}") == 0
  assert "resumed after step 16 of 32" in capsys.readouterr().out
  assert final_bits(copy) == final_bits(tmp_path / "whole") and history(copy) == history(tmp_path / "whole")
  assert json.loads((copy / "config.json").read_text())["config"]["train.epochs"] == 4 and (copy / "result_2.json").exists()
  assert len(readings.load(copy)) == 2 and len(lines(copy / "metrics.jsonl")) == 4
  before = (copy / "result.json").read_bytes()
  assert launch("train", *TRAIN, "--train.epochs=4", f"--workdir={copy}") == 0 and (copy / "result.json").read_bytes() == before
  assert len(readings.load(copy)) == 2


@pytest.mark.parametrize(
  ("flags", "reason"),
  [
    (("--train.schedule=cosine", "--train.drop_path=0"), "its learning rate follows --train.schedule=cosine over all epochs"),
    (("--train.schedule=constant", "--train.drop_path=0.1"), "its drop-path rises over all epochs"),
  ],
)
def test_why_a_training_cannot_be_made_longer(flags, reason, trained, capsys):
  said = refusal(capsys, "train", trained, *DATA, *SIZE, "--train.learning_rate=0.01", *flags, "--train.epochs=3")
  begun = f"the training in {trained} was begun with 2 epochs"
  assert said == f"--train.epochs is 3; {begun}, and {reason}, so it cannot be made longer; give another --workdir."


def test_what_cannot_be_used(trained, copy, tmp_path, capsys):
  def said(launcher, *flags):
    return refusal(capsys, launcher, tmp_path / "out", *flags)

  assert said("test").startswith("--run is empty; give the folder of a finished training")
  assert said("export", "--run=nowhere").startswith("run folder 'nowhere' does not exist")
  assert said("export", f"--run={trained}", "--format=onnx").startswith("--format is onnx; it can be all, jax, orbax, safetensors.")
  assert said("test", f"--run={trained}", "--split=tset").startswith("--split is tset; did you mean 'test'?")
  other = said("test", f"--run={trained}", "--data.dataset=digits")
  assert other.startswith("--data.dataset is digits; its images have the shape [8, 8, 1], and those of the training [8, 8, 3]")
  start = (*DATA, *SIZE, *RATES, "--train.epochs=1", f"--start_from={copy}")
  assert said("train", *start, "--genotype=PDARTS").startswith(f"--start_from is {copy}; it is a training of another network")
  assert "its weights are of a network with other settings" in said("train", *start, "--network.channels=4")
  assert said("train", *TRAIN, "--train.freeze").startswith("--train.freeze is True; it trains the classifier of a trained network alone")
  (copy / "result.json").unlink()
  assert said("test", f"--run={copy}").startswith(f"the training in {copy} has not ended, as it has no result.json")
  shutil.rmtree(copy / "checkpoints")
  shutil.copy(trained / "result.json", copy)
  assert said("test", f"--run={copy}").startswith(f"{copy} holds no checkpoint")
  config = json.loads((copy / "config.json").read_text()) | {"launcher": "search"}
  (copy / "config.json").write_text(json.dumps(config))
  assert said("test", f"--run={copy}").startswith(f"{copy} is the folder of a run of 'search' and not of a training; train what it found")


@pytest.mark.parametrize(
  ("images", "sentence"),
  [
    (np.zeros((2, 9, 8, 3), np.uint8), r"shape \[9, 8, 3\] each, and this network was trained on \[8, 8, 3\]; resize them."),
    (np.zeros((2, 8, 8, 3), np.float32), "images are float32"),
    (np.zeros((8, 8, 3), np.uint8), r"images have shape \[8, 8, 3\], and it must be \[N, H, W, C\]"),
    (np.zeros((0, 8, 8, 3), np.uint8), "so there is no image"),
  ],
)
def test_images_that_do_not_fit(images, sentence, model):
  with pytest.raises(dnas.InputError, match=sentence):
    model.predict(images)


def test_a_batch_of_nothing_is_refused(model):
  with pytest.raises(dnas.InputError, match="batch_size is 0; it must be a whole number above zero."):
    model.predict(np.zeros((2, 8, 8, 3), np.uint8), 0)
