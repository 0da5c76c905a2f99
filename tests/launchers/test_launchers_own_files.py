"""Forty PNG files in two folders, and a text file, through the launchers."""

import json
import shlex

import numpy as np
import pytest
from own_files import picture, write_images
from PIL import Image
from tiny_runs import SEARCH, TEXT_TRAIN, TRAIN, contents, final_bits, history, launch, refusal

from dnas.data.base import Config as DataConfig
from dnas.launchers import tune
from dnas.launchers.configs import ImageTrainConfig
from dnas.train.images import RetrainTask

COUNTS = {"cat": 20, "dog": 20}


def own(folder, *flags):
  return "--data.dataset=images", f"--data.data_dir={folder}", "--data.batch_size=8", *flags


def test_forty_images_are_searched_and_retrained(tmp_path, capsys):
  data, found, again = (tmp_path / name for name in ("data", "found", "again"))
  write_images(data, COUNTS, size=(12, 10))
  assert launch("search", *SEARCH, *own(data, "--data.image_size=8"), f"--workdir={found}") == 0, capsys.readouterr().err
  out = capsys.readouterr().out
  assert "images: 16 images of 8x8x3 to train on and 16 to validate, 2 classes" in out
  (command,) = (line for line in out.splitlines() if line.startswith("retrain it: "))
  flags = [word for word in shlex.split(command) if word.startswith("--data.")]
  assert flags == ["--data.dataset=images", f"--data.data_dir={data}", "--data.image_size=8", "--data.batch_size=8"]
  flags = (f"--genotype={found}", *flags, f"--workdir={again}")
  assert launch("train", *TRAIN, *flags, "--train.epochs=4", "--train.learning_rate=0.1") == 0, capsys.readouterr().err
  result = json.loads((again / "result.json").read_text())
  assert {"test/accuracy_by_class/cat", "test/accuracy_by_class/dog", "test/loss"} <= result.keys()
  kept = json.loads((again / "data.json").read_text())
  assert kept["examples_by_class"] == {"train": [16, 16]} and kept["image_shape"] == [8, 8, 3] and len(kept["mean"]) == 3
  before = contents(again)
  assert launch("train", *TRAIN, *flags, "--train.epochs=4", "--train.learning_rate=0.1") == 0 and contents(again) == before
  for path in data.rglob("*.png"):
    Image.fromarray(picture(7, size=(12, 10))).save(path)
  assert launch("train", *TRAIN, *flags, "--train.epochs=4", "--train.learning_rate=0.1") == 2
  assert "data.json is not the one of this run" in capsys.readouterr().err and contents(again) == before


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  folder = tmp_path_factory.mktemp("parts")
  for part, number in (("train", 8), ("valid", 6), ("test", 4)):
    write_images(folder / part, {"a": number, "b": number})
  return folder


@pytest.mark.parametrize("flag", ["train_portion=0.5", "split=stratified", "test_seed=1", "test_portion=0.2"])
def test_flags_that_would_divide_divided_data_are_refused(parts, workdir, capsys, flag):
  for launcher, tiny in (("search", SEARCH), ("train", TRAIN)):
    text = refusal(capsys, launcher, workdir, *tiny, *own(parts, f"--data.{flag}"))
    assert text.startswith(f"--data.{flag.replace('=', ' is ')}; it does nothing where the data have a ")
    assert text.endswith(" part of their own, so leave it out.")


def test_a_tuning_has_no_portion_where_data_have_a_validation_part(parts):
  training = ImageTrainConfig(data=DataConfig(dataset="images", data_dir=str(parts), train_portion=1.0))
  config = tune.ImageTuneConfig(training=training)
  assert config.idle("train_portion").startswith("it does nothing where the data have a validation part of their own")
  assert config.idle("training.data.test_seed").startswith("it does nothing where the data have a test part of their own")
  assert not tune.ImageTuneConfig().idle("train_portion") and not config.idle("training.data.image_size")
  assert ImageTrainConfig(data=training.data, test=False).data == training.data, "it is measured by the validation part"


def test_a_training_validates_on_the_validation_part_and_tests_on_the_test_part(parts, tmp_path, capsys):
  flags = "--data.data_dir", str(parts), "--train.epochs=1", f"--workdir={tmp_path / 'run'}", "--genotype=random:0"
  assert launch("train", *TRAIN, *own(parts), *flags[2:]) == 0, capsys.readouterr().err
  assert "images: 16 images of 8x8x3 to train on and 12 to validate, 2 classes" in capsys.readouterr().out
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert {"valid/accuracy", "test/accuracy"} <= result.keys()
  assert np.isclose(result["test/accuracy"] * 8 % 1, 0)


@pytest.mark.parametrize("launcher", ["search", "train"])
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path, workdir, capsys, launcher):
  tiny = SEARCH if launcher == "search" else TRAIN
  text = refusal(capsys, launcher, workdir, *tiny, "--data.image_size=8")
  assert text == "--data.image_size is 8; it does nothing with --data.dataset=synthetic, so leave it out."
  write_images(tmp_path / "data", COUNTS)
  (tmp_path / "data" / "cat" / "000.png").write_text("no image")
  (tmp_path / "data" / "cat" / "001.png").write_text("no image")
  text = refusal(capsys, launcher, workdir, *tiny, *own(tmp_path / "data", "--data.test_portion=0.05"))
  assert "/cat/00" in text and "cannot be decoded as an image" in text
  text = refusal(capsys, launcher, workdir, *tiny, *own(tmp_path / "data", "--data.image_size=1,2,3"))
  assert text == "--data.image_size is 1,2,3; give one number or two, height and width, each 1 to 10000, such as 32,48."


def test_a_text_file_is_trained_on(tmp_path, capsys):
  path = tmp_path / "own.txt"
  words = "cat dog bird fish".split()
  path.write_text("\n".join(f"the {word} saw a {other}" for word in words for other in words * 9))
  flags = "--data.dataset=text_file", f"--data.data_dir={path}", "--data.tokens=0", "--train.epochs=1", "--data.eval_batch_size=2"
  assert launch("train", *TEXT_TRAIN, *flags, f"--workdir={tmp_path / 'run'}", "--genotype=random:0") == 0, capsys.readouterr().err
  assert json.loads((tmp_path / "run" / "result.json").read_text())["test/perplexity"] > 1
  assert "saw" in (tmp_path / "run" / "vocabulary.txt").read_text().split()


STREAM = ("--data.image_size=8", "--data.stream", "--data.crop_area=0.3", "--data.colour_jitter", "--data.stream_workers=0")


def test_streamed_images_are_searched_and_a_killed_training_resumes(parts, tmp_path, capsys):
  found, whole, again = (tmp_path / name for name in ("found", "whole", "again"))
  assert launch("search", *SEARCH, *own(parts, *STREAM), "--darts.epochs=1", f"--workdir={found}") == 0, capsys.readouterr().err
  assert "images: 16 images of 8x8x3 to train on and 12 to validate, 2 classes" in capsys.readouterr().out
  flags = (*TRAIN, *own(parts, *STREAM), f"--genotype={found}", "--train.epochs=3", "--save_every_steps=1", "--data.metrics=top_5_accuracy")
  assert launch("train", *flags, f"--workdir={whole}") == 0, capsys.readouterr().err
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("dnas.train.images.RetrainTask.step", stopping(RetrainTask.step, after=3))
    with pytest.raises(KeyboardInterrupt):
      launch("train", *flags, f"--workdir={again}")
  capsys.readouterr()
  assert launch("train", *flags, "--data.stream_workers=1", f"--workdir={again}") == 0, capsys.readouterr().err
  assert "resumed after step 3 of 6" in capsys.readouterr().out
  results = [json.loads((folder / "result.json").read_text()) for folder in (whole, again)]
  assert history(whole) == history(again) and results[0]["test/top_5_accuracy"] == 1
  assert final_bits(whole) == final_bits(again)


def stopping(step, after):
  """A step that is interrupted once so many were done."""
  done = []

  def stopped(self, *arguments):
    if len(done) == after:
      raise KeyboardInterrupt
    done.append(1)
    return step(self, *arguments)

  return stopped


def test_streams_are_refused_where_data_must_be_in_memory(parts, workdir, capsys):
  text = refusal(capsys, "search", workdir, *SEARCH, *own(parts, "--data.stream"))
  assert text == "--data.stream is True; it needs their height and width; give --data.image_size."
  text = refusal(capsys, "train", workdir, *TRAIN, "--data.image_size=8", "--data.stream")
  assert "it does nothing with --data.dataset=synthetic" in text
