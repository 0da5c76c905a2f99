"""The names by which launchers are started: `dnas search`, `python -m dnas search`, and in a checkout `python -m experiments.search`."""

import importlib.metadata
import os
import pathlib
import pkgutil
import re
import shlex
import subprocess
import sys

import pytest

import dnas
import experiments
from dnas import __main__ as script
from dnas import launchers
from dnas.launchers import _commands, _flags, _presets, search, train

ROOT = pathlib.Path(dnas.__file__).parents[1]
PUBLIC = {module.name for module in pkgutil.iter_modules(launchers.__path__) if not module.name.startswith("_") and not module.ispkg}


def test_every_launcher_is_a_subcommand_and_nothing_else_is():
  assert set(script.LAUNCHERS) == PUBLIC - {"configs"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_the_help_lists_the_launchers(arguments, capsys):
  assert script.main(["dnas", *arguments]) == 0
  said = capsys.readouterr().out
  assert all(f"  dnas {name} " in said for name in script.LAUNCHERS)
  script.main(["/somewhere/__main__.py", *arguments])
  assert "  python -m dnas search " in capsys.readouterr().out


def test_without_a_launcher_the_help_is_an_error(capsys):
  assert script.main(["dnas"]) == 2
  assert "dnas search" in capsys.readouterr().out


def test_an_unknown_launcher_is_refused_with_the_nearest_one(capsys):
  assert script.main(["dnas", "serch"]) == 2
  assert "error: unknown launcher 'serch'. Did you mean 'search'?" in capsys.readouterr().err


def test_flags_reach_the_launcher(capsys):
  assert script.main(["dnas", "search", "--darts.epochs=0"]) == 2
  assert "--darts.epochs is 0" in capsys.readouterr().err


def test_a_launcher_has_the_options_that_have_an_effect_there(capsys):
  assert script.main(["dnas", "report", "--nodeterministic", "--workdir=x"]) == 2
  assert capsys.readouterr().err == "error: --nodeterministic has no effect in dnas report; leave it out.\n"
  names = {name: set(importlib.import_module(f"dnas.launchers.{name}").LAUNCHER.option_names) for name in script.LAUNCHERS}
  assert set().union(*names.values()) == set(_flags.ALL_OPTIONS)
  presets = {name for name in names if _presets.names_for(name)} | {"describe"}  # which takes those of others
  assert {name for name, options in names.items() if "preset" in options} == presets


def test_the_console_script_is_the_package():
  (entry,) = [entry for entry in importlib.metadata.entry_points(group="console_scripts") if entry.name == "dnas"]
  assert entry.load() is script.main


def test_a_checkout_starts_the_same_launchers():
  names = {module.name for module in pkgutil.iter_modules(experiments.__path__)}
  assert names == set(script.LAUNCHERS) - {"speed"}  # which is benchmarks.speed


@pytest.mark.parametrize(
  "how, printed", [(["-m", "dnas", "report"], "python -m dnas report"), (["-m", "experiments.report"], "python -m experiments.report")]
)
def test_the_help_shows_commands_as_the_launcher_was_started(how, printed):
  done = started([sys.executable, *how, "--help"], ROOT, os.path.dirname(sys.executable))
  assert done.returncode == 0 and f"\n  {printed} --workdir=" in done.stdout, done.stderr


def started(words, folder, path):
  return subprocess.run(words, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120)


def test_printed_commands_name_this_python_where_the_shell_finds_another_one(tmp_path):
  done = started([sys.executable, "-m", "dnas", "report", "--help"], ROOT, str(tmp_path))
  (python,) = re.findall("^  (.*) -m dnas report --workdir=", done.stdout, re.MULTILINE)
  assert (ROOT / shlex.split(python)[0]).samefile(sys.executable), done.stderr


def test_a_package_of_a_user_that_is_called_experiments_is_no_checkout(tmp_path):
  (tmp_path / "experiments").mkdir()
  (tmp_path / "experiments" / "__init__.py").touch()
  (tmp_path / "experiments" / "report.py").write_text("import sys\nfrom dnas.launchers.report import main\nsys.exit(main(sys.argv))\n")
  done = started([sys.executable, "-m", "experiments.report", "--help"], tmp_path, os.path.dirname(sys.executable))
  assert "\n  python -m dnas report --workdir=" in done.stdout, done.stderr


def test_the_version_is_told(capsys):
  assert script.main(["dnas", "--version"]) == 0
  assert capsys.readouterr().out == f"dnas {dnas.__version__}\n"


def test_printed_commands_name_the_console_script_where_it_was_used(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dnas", "search"])
  assert _commands.command("train", {"workdir": "a b"}) == "dnas train '--workdir=a b'"


@pytest.mark.parametrize(
  "preset, changes, recipe",
  [
    ("digits_demo", {}, "digits_demo_retrain"),
    ("digits_demo", {"data.examples": 400, "data.split": "shuffled", "data.split_seed": 3}, "digits_demo_retrain"),
    ("darts_cifar10_second_order", {"data.data_dir": "/a b/c", "data.class_weights": "balanced"}, "darts_cifar10_retrain"),
    ("gdas_cifar10", {"space": "nasbench201", "supernet.cells": 15}, "nasbench201_cifar10_retrain"),
    ("digits_demo", {"data.dataset": "fashion_mnist"}, ""),
    ("digits_demo", {"space": "darts_s2"}, "digits_demo_retrain"),
    ("digits_bench", {}, "digits_bench_retrain"),
    ("text_demo", {"data.level": "character"}, "text_demo_retrain"),
    ("darts_ptb_first_order", {}, "darts_ptb_retrain"),
    ("darts_ptb_first_order", {"data.dataset": "synthetic_text", "data.tokens": 1000}, ""),
  ],
)
def test_the_printed_retraining_has_the_data_of_the_search_and_the_recipe_for_them(preset, changes, recipe):
  search_config = dnas.load_preset(preset, changes)
  words = shlex.split(search._retraining(search._recipe(search_config, None), "runs/first", "/seed_0002").partition(" train ")[2])
  config, options, _ = train.LAUNCHER.parse(["train", *words])
  assert (options.preset, options.workdir, config.genotype) == (recipe, "runs/first_seed_0002_retrained", "runs/first/seed_0002")
  for name in search._SAME_DATA:
    assert getattr(config.data, name, None) == getattr(search_config.data, name, None)
  base = dnas.load_preset(recipe) if recipe else train.BY_SPACE.get(search_config.space, dnas.ImageTrainConfig())
  assert config.train == base.train and config.network == base.network


def test_the_printed_retraining_has_a_batch_that_few_images_fill():
  search_config = dnas.load_preset("digits_demo", {"data.batch_size": 8})
  for images, batch in (((16, 16), 8), ((3, 2), 5), ((32, 32), 64)):
    words = shlex.split(search._retraining(search._recipe(search_config, images), "runs/first", "").partition(" train ")[2])
    assert train.LAUNCHER.parse(["train", *words])[0].data.batch_size == batch
