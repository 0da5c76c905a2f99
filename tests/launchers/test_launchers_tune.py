"""Tuning through its real launcher: what it writes, that it goes on, what it refuses, and that no trial reaches the test set."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_runs import cache_flag, contents

from dnas.cells.registries import SPACES
from dnas.data import base
from dnas.launchers import _flags, _trial, train, tune
from dnas.launchers.configs import ImageTrainConfig
from dnas.tune import study

TRAINING = ("--training.data.dataset=synthetic", "--training.data.batch_size=32", "--training.network.channels=2")
TINY = (*TRAINING, "--training.network.cells=1", "--training.network.auxiliary=false", "--training.train.epochs=2", "--seeds=2")
SPACE = "--search_space=train.learning_rate = log(0.01, 0.3); train.weight_decay = log(1e-5, 1e-2)"
STUDY = ("--study.trials=4", "--study.sampler=random", "--study.pruner=median")


def flags(folder, *more):
  return [cache_flag(), f"--workdir={folder}", *TINY, SPACE, *STUDY, *more]


def launch(folder, *more):
  return tune.main(["tune", *flags(folder, *more)])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tune") / "runs"
  assert launch(folder) == 0
  return folder


def values_of(folder):
  trials = json.loads((folder / "trials.json").read_text())
  return [(trial["number"], trial["state"], trial["values"], trial["point"]) for trial in trials]


@pytest.mark.versions
def test_a_tuning_of_two_trials(tmp_path):
  assert launch(tmp_path / "two", "--study.trials=2", "--study.sampler=tpe", "--seeds=0") == 0
  trials = json.loads((tmp_path / "two" / "trials.json").read_text())
  assert (tmp_path / "two" / "trials" / "trial_0000.log").read_text().startswith("training of ")
  assert len(trials) == 2 and all(0 <= trial["values"][0] <= 1 for trial in trials)


def test_every_trial_is_a_run_that_was_not_tested(tuned):
  trials = json.loads((tuned / "trials.json").read_text())
  assert len(trials) == 4 and trials[0]["point"][0]["train.learning_rate"] == 0.025  # the configuration itself
  for trial in trials:
    run = pathlib.Path(trial["folder"])
    config = json.loads((run / "config.json").read_text())
    assert config["launcher"] == "train" and config["config"]["test"] is False and config["config"]["data.train_portion"] == 0.8
    assert config["config"]["train.learning_rate"] == trial["point"][0]["train.learning_rate"]
    result = json.loads((run / "result.json").read_text())
    assert trial["values"] == [result["valid/accuracy"]] and not any(name.startswith("test/") for name in result)
    assert result["latency"] > 0 and trial["epochs"] == 2
  best = max(trials, key=lambda trial: trial["values"])
  result = json.loads((tuned / "result.json").read_text())
  assert result["best"]["values"] == best["values"] and result["best"]["values"] >= result["default"]["values"] and result["epochs"] == 8


def test_the_best_is_trained_on_all_data_and_tested_with_every_seed(tuned):
  result = json.loads((tuned / "result.json").read_text())
  finals = [json.loads((tuned / "final" / f"seed_{seed:04d}" / "result.json").read_text()) for seed in range(2)]
  assert result["test"]["values"] == [100 * (1 - final["test/accuracy"]) for final in finals]
  assert result["test"]["mean"] == pytest.approx(np.mean(result["test"]["values"]))
  for seed in range(2):
    config = json.loads((tuned / "final" / f"seed_{seed:04d}" / "config.json").read_text())["config"]
    assert config["seed"] == seed and config["data.train_portion"] == 1.0 and config["test"] is True
    assert config["train.learning_rate"] == result["best"]["point"][0]["train.learning_rate"]
  assert {"history.png", "contour.svg"} <= {path.name for path in (tuned / "pictures").iterdir()}
  assert (tuned / "best_trials.md").read_text().count("\n|") == 6


def test_the_printed_command_runs_the_best_trial_again(tuned):
  result = json.loads((tuned / "result.json").read_text())
  words = shlex.split(result["command"])
  assert words[1:4] == ["-m", "dnas", "train"] and words[-1] == f"--workdir={tuned}_best"
  config, _, _ = train.LAUNCHER.parse(words[3:-1])
  run = json.loads((pathlib.Path(result["best"]["folder"]) / "config.json").read_text())["config"]
  assert config.recorded() == {name: value for name, value in run.items() if name != "architecture"}


def test_the_same_command_again_trains_nothing_and_more_trials_are_added(tuned, capsys):
  before = values_of(tuned)
  written = contents(tuned)
  assert launch(tuned) == 0 and contents(tuned) == written
  out = capsys.readouterr().out
  each = "each trains DARTS_V2 on synthetic for up to 2 epochs"
  assert out.startswith(f"study 'tune': 4 trials, which random chooses and median ends early; {each}\n")
  assert "with 2 seeds" in out and "goes on with 4 trials" in out
  assert not re.search(r"^tune +\d", out, re.MULTILINE) and values_of(tuned) == before
  assert launch(tuned, "--study.trials=5", "--seeds=0") == 0
  assert values_of(tuned)[:4] == before and len(values_of(tuned)) == 5


def test_a_trial_cannot_reach_the_test_set(tmp_path, monkeypatch):
  monkeypatch.setattr(base, "open_test", lambda *_: pytest.fail("the test set was opened"))
  point = tune.spaces.Point({"train.learning_rate": 0.1}, None)
  training = tune.config_lib.replace(ImageTrainConfig(), dict(_settings(TINY)) | {"test": False, "data.train_portion": 0.8})
  address = study.Address(f"sqlite:///{tmp_path}/study.db", "tune")
  space = tune.spaces.parse("train.learning_rate = log(0.01, 0.3)", training)
  opened = study.open_study(address, study.Config(trials=1), space)
  opened.ask()
  assignment = tune.engine.Assignment(address, study.Config(trials=1), 0, point, str(tmp_path / "trial"), 0)
  options = _flags.Options(compilation_cache=cache_flag().partition("=")[2])
  result = _trial.run_trial(assignment, _trial.Payload(training, options))
  assert 0 <= result.values[0] <= 1 and result.epochs == 2
  for path in ("test", "data.train_portion", "data.split_seed", "genotype", "seed"):
    with pytest.raises(tune.InputError, match=f"search_space is {path}; trials would not be comparable; take it out"):
      value = {"test": "choice(true)", "data.train_portion": "uniform(0.1, 0.5)", "genotype": "choice(DARTS_V1)"}.get(path, "int(0, 3)")
      tune.Tuning(tune.ImageTuneConfig(search_space=f"{path} = {value}", training=training), _flags.Options(workdir=str(tmp_path)))


def _settings(given):
  for flag in given:
    path, _, text = flag.removeprefix("--training.").partition("=")
    if not flag.startswith("--seeds"):
      yield path, {"false": False}.get(text, int(text) if text.isdecimal() else text)


def test_architectures_are_searched_jointly_for_several_objectives(tmp_path, capsys):
  more = ("--joint", "--study.pruner=none", "--study.objectives=accuracy,weights", "--study.sampler=nsga2", "--study.trials=2")
  assert launch(tmp_path / "joint", *more, "--seeds=0", "--training.train.epochs=1") == 0
  out = capsys.readouterr().out
  assert "the Pareto front of 2" in out
  space = SPACES["darts_conv"]
  for trial in json.loads((tmp_path / "joint" / "trials.json").read_text()):
    run = pathlib.Path(trial["folder"])
    found = space.parse((run / "genotype.json").read_text())
    assert space.encode(found) == tuple(trial["point"][1]) and trial["values"][1] == trial["weights"]
  assert (tmp_path / "joint" / "pictures" / "pareto_front.png").exists()


def test_a_tuning_that_is_killed_goes_on(tuned, tmp_path):
  folder = tmp_path / "killed"
  command = [sys.executable, "-m", "experiments.tune", *flags(folder)]
  root = pathlib.Path(__file__).parents[2]
  environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
  process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
  until = time.monotonic() + 120
  while time.monotonic() < until and not (folder / "trials" / "trial_0001" / "config.json").exists():
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert launch(folder) == 0
  address = study.Address(f"sqlite:///{folder}/study.db", "tune")
  opened = address.load(study.Config(), address.open())
  assert all(trial.state.is_finished() for trial in opened.trials)
  assert values_of(folder) == values_of(tuned)[:4]


REFUSED = {
  ("--search_space=train.learning_rat = log(0.1, 1)",): "Did you mean 'train.learning_rate'?",
  ("--search_space=",): "--search_space is empty; there is nothing to tune",
  ("--training.genotype=DARTS_V3",): "--training.genotype is DARTS_V3; did you mean 'DARTS_V2'?",
  ("--training.genotype=random:x",): "--training.genotype=random:x has no seed",
  ("--storage=sqlite:////no/such/x.db",): "--storage=sqlite:////no/such/x.db is in a folder that does not exist or cannot be written; give",
  ("--storage=postgresql+psycopg://127.0.0.1:1/x",): "start the postgresql server",
  ("--study.objectives=perplexity", "--study.pruner=none"): "trainings on images have no perplexity",
  ("--pool.ray_address=127.0.0.1:1",): "it does nothing with --pool.executor=local",
  ("--train_portion=1",): "a trial is judged by the rest, so it must be below 1",
  ("--study.eta=4",): "it does nothing with --study.pruner=median, so leave it out, or choose successive_halving or hyperband",
  ("--study.trials=0",): "it must be above zero",
}


NOTHING_WRITTEN = {
  ("--storage=journal:///",): "names no file",
  ("--storage=postgresql+psycopg://me:secret@host/x",): "holds a password",
  ("--storage=postgresql+psycopg://host:65536/x",): "its port must be 1 to 65535",
  ("--pool.executor=ray", "--pool.ray_address=127.0.0.1:65536"): "its port must be 1 to 65535",
  ("--pool.executor=ray", "--pool.ray_address=127.0.0.1:1"): "nothing answers there",
  ("--search_space=data.batch_size = int(100000, 200000)",): "no trial can use the search space: training.data.batch_size is ",
  ("--search_space=training",): "write",
}


@pytest.mark.parametrize("given", NOTHING_WRITTEN, ids=lambda given: given[-1][:40])
def test_what_is_refused_writes_nothing(given, tmp_path, capsys):
  assert launch(tmp_path / "new", *given) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and err.count("\n") == 1 and NOTHING_WRITTEN[given] in err and "secret" not in err, err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", REFUSED, ids=lambda given: given[0][:30])
def test_bad_input_is_refused_in_one_sentence(given, tmp_path, capsys):
  assert launch(tmp_path / "new", *given) == 2
  out, err = capsys.readouterr()
  assert err.startswith("error: ") and err.count("\n") == 1 and REFUSED[given] in err, err


def test_a_training_without_a_test_needs_a_validation_set(tmp_path, capsys):
  assert train.main(["train", f"--workdir={tmp_path / 'new'}", "--test=false"]) == 2
  assert "give data.train_portion below 1" in capsys.readouterr().err
