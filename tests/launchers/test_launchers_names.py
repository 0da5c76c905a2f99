"""The names by which launchers are started: `dnas search`, `python -m dnas search`, and in a checkout `python -m experiments.search`."""

import importlib.metadata
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import dnas
import experiments
from dnas import __main__ as script
from dnas import launchers
from dnas.launchers import _flags

ROOT = pathlib.Path(dnas.__file__).parents[1]
PUBLIC = {module.name for module in pkgutil.iter_modules(launchers.__path__) if not module.name.startswith("_") and not module.ispkg}


def test_every_launcher_is_a_subcommand_and_nothing_else_is():
  assert set(script.LAUNCHERS) == PUBLIC - {"configs"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_the_help_lists_the_launchers(arguments, capsys):
  assert script.main(["dnas", *arguments]) == 0
  said = capsys.readouterr().out
  assert all(f"  dnas {name} " in said for name in script.LAUNCHERS)


def test_without_a_launcher_the_help_is_an_error(capsys):
  assert script.main(["dnas"]) == 2
  assert "dnas search" in capsys.readouterr().out


def test_an_unknown_launcher_is_refused_with_the_nearest_one(capsys):
  assert script.main(["dnas", "serch"]) == 2
  assert "error: unknown launcher 'serch'. Did you mean 'search'?" in capsys.readouterr().err


def test_flags_reach_the_launcher(capsys):
  assert script.main(["dnas", "search", "--darts.epochs=0"]) == 2
  assert "--darts.epochs is 0" in capsys.readouterr().err


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
  done = subprocess.run([sys.executable, *how, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode == 0 and f"\n  {printed} --workdir=" in done.stdout, done.stderr


def test_printed_commands_name_the_console_script_where_it_was_used(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dnas", "search"])
  assert _flags.command("train", {"workdir": "a b"}) == "dnas train '--workdir=a b'"
