"""What launchers say of themselves, the presets, and that every field can be set."""

import dataclasses
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from dnas.core import config as config_lib
from experiments import _flags, demo, search, train

LAUNCHERS = {"search": search.LAUNCHER, "train": train.LAUNCHER, "demo": demo.LAUNCHER}
PRESETS = {name: _flags._preset(name) for name in _flags.preset_names()}

CHOICES = {"space": "nasnet", "hypergradient": "unrolled", "data.dataset": "cifar100", "data.data_dir": "elsewhere", "genotype": "random:1"}


def other(path, kind, value):
  """Another valid value of a field."""
  if kind is str:
    return CHOICES[path]
  if kind is bool:
    return not value
  return value + 2 if kind is int else value / 2 or 0.25


CASES = [
  pytest.param(launcher, preset, path, kind, value, id=f"{preset or launcher}-{path}")
  for launcher, preset in [("search", ""), ("train", ""), ("demo", ""), *((module.LAUNCHER, name) for name, module in PRESETS.items())]
  for path, kind, value in config_lib.fields(PRESETS[preset].CONFIG if preset else LAUNCHERS[launcher]._default)
]


@pytest.mark.parametrize("launcher, preset, path, kind, value", CASES)
def test_every_field_is_a_flag_that_overrides_the_preset(launcher, preset, path, kind, value):
  argv = [launcher, "--workdir=w", *([f"--preset={preset}"] if preset else [])]
  config, options, given = LAUNCHERS[launcher].parse(argv)
  new = other(path, kind, value)
  for flags in ([f"--{path}={new}"], [f"--{path}", str(new)] if kind is not bool else [f"--{'' if new else 'no'}{path}"]):
    changed, changed_options, changed_given = LAUNCHERS[launcher].parse([*argv, *flags])
    assert config_lib.differences(config_lib.flatten(config), config_lib.flatten(changed)) == {path: (value, new)}
    assert (options, given, changed_given) == (changed_options, set(), {path}) and json.dumps(config_lib.flatten(changed))


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull", "--help=all"])
def test_help_lists_every_flag_with_its_default_and_what_it_means(name, flag, capsys):
  launcher = LAUNCHERS[name]
  assert launcher.main([name, "--nonsense", flag]) == 0
  out, err = capsys.readouterr()
  assert err == ""
  lines, count = out.splitlines(), 0
  for config in (_flags.Options(), launcher._default):
    texts = config_lib.help_texts(type(config))
    for path, _, default in config_lib.fields(config):
      here = lines.index(f"  --{path}={default}")
      assert len(texts[path]) > 10 and lines[here + 1].startswith("      ") and texts[path].startswith(lines[here + 1].strip()), path
      count += 1
  assert count == sum(line.startswith("  --") for line in lines) and max(map(len, lines)) <= 140
  for preset, module in PRESETS.items():
    assert any(line.split()[:1] == [preset] for line in lines) == (module.LAUNCHER == name)


def test_flags_of_all_kinds_reach_the_options():
  _, options, given = search.LAUNCHER.parse(["search", "--workdir=w", "--save_every_steps=3", "--keep_checkpoints=5", "--data.flip"])
  assert (options.workdir, options.save_every_steps, options.keep_checkpoints, given) == ("w", 3, 5, {"data.flip"})
  assert dataclasses.replace(options, workdir="", save_every_steps=200, keep_checkpoints=2) == _flags.Options()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_is_from_how_it_is_run_and_what_to_expect(name):
  module = PRESETS[name]
  assert module.LAUNCHER in ("search", "train") and _flags.load_preset(name, module.LAUNCHER) is module.CONFIG
  said = dict(re.findall(r"^(Paper|Command|Expected result|Expected time): (.+)$", module.__doc__, re.MULTILINE))
  assert said.keys() == {"Paper", "Command", "Expected result", "Expected time"}
  words = shlex.split(said["Command"])
  assert words[:3] == ["python", "-m", f"experiments.{module.LAUNCHER}"]
  config, options, given = LAUNCHERS[module.LAUNCHER].parse([module.LAUNCHER, *words[3:]])
  assert options.preset == name and options.workdir and given <= {"genotype"}
  assert config == (dataclasses.replace(module.CONFIG, genotype=config.genotype) if given else module.CONFIG)


PUBLISHED_DATA = {"data.dataset": "cifar10", "data.data_dir": "", "data.examples": 0, "data.crop_padding": 4, "data.flip": True}
PUBLISHED_SEARCH = {
  **PUBLISHED_DATA,
  "space": "darts_conv",
  "seed": 2,
  "data.train_portion": 0.5,
  "data.batch_size": 64,
  "data.cutout_length": 0,
  "supernet.channels": 16,
  "supernet.cells": 8,
  "supernet.stem_multiplier": 3,
  "darts.epochs": 50,
  "darts.learning_rate": 0.025,
  "darts.final_learning_rate": 0.001,
  "darts.momentum": 0.9,
  "darts.weight_decay": 3e-4,
  "darts.gradient_clip": 5.0,
  "darts.arch_learning_rate": 3e-4,
  "darts.arch_beta1": 0.5,
  "darts.arch_beta2": 0.999,
  "darts.arch_weight_decay": 1e-3,
  "darts.arch_init_scale": 1e-3,
}
PUBLISHED_RETRAINING = {
  **PUBLISHED_DATA,
  "genotype": "DARTS_V2",
  "seed": 0,
  "data.train_portion": 1.0,
  "data.batch_size": 96,
  "data.cutout_length": 16,
  "network.channels": 36,
  "network.cells": 20,
  "network.stem_multiplier": 3,
  "network.auxiliary": True,
  "train.epochs": 600,
  "train.learning_rate": 0.025,
  "train.final_learning_rate": 0.0,
  "train.momentum": 0.9,
  "train.weight_decay": 3e-4,
  "train.gradient_clip": 5.0,
  "train.auxiliary_weight": 0.4,
  "train.drop_path": 0.2,
}


@pytest.mark.parametrize(
  "name, published, unused",
  [
    # evaluation batches change no result, and the settings of other estimators do nothing
    ("darts_cifar10_first_order", PUBLISHED_SEARCH | {"hypergradient": "first_order"}, r"(finite_difference|unrolled|implicit_\w+)\."),
    (
      "darts_cifar10_second_order",
      PUBLISHED_SEARCH | {"hypergradient": "finite_difference", "finite_difference.radius": 0.01},
      r"(unrolled|implicit_\w+)\.",
    ),
    ("darts_cifar10_retrain", PUBLISHED_RETRAINING, r"$^"),
  ],
)
def test_published_presets_hold_the_published_figures(name, published, unused):
  flat = config_lib.flatten(PRESETS[name].CONFIG)
  assert {path: value for path, value in flat.items() if path != "data.eval_batch_size" and not re.match(unused, path)} == published


def test_the_demonstrations_differ_from_the_published_recipe_in_size_and_rates_alone():
  small, published = (config_lib.flatten(PRESETS[name].CONFIG) for name in ("digits_demo", "darts_cifar10_first_order"))
  changed = set(config_lib.differences(small, published))
  assert changed <= {"data.dataset", "data.crop_padding", "data.flip", "supernet.channels", "supernet.cells"} | {
    "darts.epochs",
    "darts.learning_rate",
    "darts.arch_learning_rate",
  }


def test_a_launcher_without_presets_says_so(capsys):
  assert demo.main(["demo", "--preset=zzz", "--workdir=never_made"]) == 2
  assert capsys.readouterr().err == "error: --preset is zzz; experiments.demo has none, so leave it out.\n"
  assert demo.main(["demo", "--preset=digits_demo", "--workdir=never_made"]) == 2
  assert "--preset=digits_demo is for experiments.search and this is experiments.demo" in capsys.readouterr().err


def test_the_report_of_the_demo():
  text = demo.report({"found": 5.0, "random 0": 4.0, "random 1": 6.0, "random 2": 8.0})
  assert "random cells: mean 6.00 %, standard deviation 2.00 %" in text and "better than 2 of 3 random cells" in text
  assert [line.split() for line in text.splitlines() if line.startswith(("  found  ", "  random 0"))] == [
    ["found", "5.00", "%"],
    ["random", "0", "4.00", "%"],
  ]
  assert "better than 0 of 2" in demo.report({"found": 5.0, "random 0": 5.0, "random 1": 1.0})  # a tie is no win


def test_the_demo_searches_once_and_retrains_all_cells_alike(tmp_path, monkeypatch, capsys):
  searches, trainings = [], []

  def fake_train(command, **_):
    assert command[:4] == [sys.executable, "-m", "experiments.train", "--preset=digits_demo_retrain"]
    flags = dict(flag.lstrip("-").split("=", 1) for flag in command[4:])
    trainings.append(flags)
    folder = pathlib.Path(flags["workdir"])
    folder.mkdir(parents=True)
    accuracy = 0.99 if flags["genotype"].endswith("search") else 0.98
    (folder / "result.json").write_text(json.dumps({"test/accuracy": accuracy, "train/loss": 0.1, "weights": 1000}))
    return subprocess.CompletedProcess(command, 0, "", "")

  monkeypatch.setattr(search, "run", lambda config, options, given: searches.append((config, options.workdir)))
  monkeypatch.setattr(demo.subprocess, "run", fake_train)
  assert demo.main(["demo", "--random_cells=2", f"--workdir={tmp_path / 'demo'}"]) == 0
  found = str(tmp_path / "demo" / "search")
  assert searches == [(PRESETS["digits_demo"].CONFIG, found)]
  assert sorted(flags["genotype"] for flags in trainings) == sorted([found, "random:0", "random:1"])
  assert {tuple(sorted(set(flags) - {"genotype", "workdir"})) for flags in trainings} == {("compilation_cache",)}
  assert len({flags["workdir"] for flags in trainings}) == 3
  said = capsys.readouterr().out
  assert "found       1.00 %" in said and "better than 2 of 2" in said


def test_a_training_that_fails_ends_the_demo_in_one_sentence(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(search, "run", lambda config, options, given: None)
  monkeypatch.setattr(demo.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "error: no luck.\n"))
  assert demo.main(["demo", f"--workdir={tmp_path / 'demo'}"]) == 2
  said = capsys.readouterr().err
  assert said.startswith("error: the training in ") and "no luck" in said and said.count("\n") == 1
