"""What a user's script registers: it has flags, stands in config.json, is refused with other values, and is known to every command."""

import json
import pathlib
import re
import shlex
import sys

import forks
import pytest
from tiny_runs import DATA, ENVIRONMENT, ROOT, cache_flag

from dnas.core.errors import InputError
from dnas.evaluate.nasbench201_formats import write_npz
from dnas.evaluate.synthetic_table import planted
from dnas.launchers import _units

SCRIPT = pathlib.Path(__file__).parent / "own_script.py"
SEARCH = (*DATA, "--space=own_space", "--supernet.channels=2", "--supernet.cells=1", "--darts.epochs=1", "--darts.diagnose_every=0")
METHOD = ("--method=own_method", "--hypergradient=own_hypergradient", "--own_hypergradient.scale=2")
TRAIN = (*DATA, "--network.channels=2", "--network.cells=1", "--network.auxiliary=false", "--train.epochs=1")
COMPARE = ("--methods=own_strategy", "--evaluator=own_evaluator", "--seconds=100", "--seeds=4", "--pool.workers=2")


def run(*words, cwd=ROOT):
  return forks.run(*words, cwd=cwd, env=ENVIRONMENT)


def config_of(folder):
  return json.loads((folder / "config.json").read_text())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  """A search by the script, in a folder with a space, from the folder of the script."""
  folder = tmp_path_factory.mktemp("own") / "my run"
  done = run(SCRIPT.name, "search", cache_flag(), f"--workdir={folder}", *SEARCH, *METHOD, "--own_method.penalty=5", cwd=SCRIPT.parent)
  assert done.returncode == 0, done.stderr
  return folder, done.stdout


def test_settings_are_flags_and_stand_in_the_configuration(searched):
  folder, _ = searched
  about = config_of(folder)
  assert about["config"]["own_method.penalty"] == 5.0 and about["config"]["own_hypergradient.scale"] == 2.0
  assert list(about["units"]) == ["__main__"] and about["config"]["pc_darts.partial_channels"] == 4


def test_another_value_is_refused_and_the_units_may_be_imported(searched):
  folder, _ = searched
  command = ("-m", "experiments.search", f"--imports={SCRIPT}", cache_flag(), f"--workdir={folder}", *SEARCH, *METHOD)
  changed = run(*command)
  assert changed.returncode == 2 and "own_method.penalty: 5.0 -> 0.05" in changed.stderr and changed.stderr.count("\n") == 1
  same = run(*command, "--own_method.penalty=5")
  assert same.returncode == 0 and "resumed after step 8 of 8" in same.stdout, same.stderr


def test_a_search_goes_on_when_more_is_registered(tmp_path, searched):
  folder, _ = searched
  script = tmp_path / "more_units.py"
  more = SCRIPT.read_text().replace('if __name__ == "__main__":', MORE + '\n\nif __name__ == "__main__":')
  script.write_text(more)
  flags = (f"--imports={script}", cache_flag(), f"--workdir={folder}", *SEARCH, *METHOD, "--own_method.penalty=5")
  done = run("-m", "experiments.search", *flags)
  assert done.returncode == 0 and "resumed after step 8 of 8" in done.stdout, done.stderr


MORE = """
@METHODS.register("another_method")
@dataclasses.dataclass(frozen=True)
class Another(DifferentiableMethod):
  strength: float = 1.0
"""


def test_the_printed_command_retrains_a_cell_of_own_operations(searched, tmp_path):
  folder, out = searched
  (command,) = re.findall("^retrain it: (.*)$", out, re.MULTILINE)
  words = shlex.split(command)
  assert f"--imports={SCRIPT}" in words and "--space=own_space" in words and f"--genotype={folder}" in words
  words = [f"--workdir={tmp_path / 'retrained'}" if word == f"--workdir={folder}_retrained" else word for word in words]
  done = run(*words[1:], cache_flag(), *TRAIN)
  assert done.returncode == 0 and "test error" in done.stdout, done.stderr
  assert list(config_of(tmp_path / "retrained")["units"]) == ["own_script"]


def test_help_lists_units_and_settings():
  out = run("-m", "experiments.search", "--help", f"--imports={SCRIPT}").stdout
  assert "--own_method.penalty=0.05\n      its coefficient." in out and "--own_hypergradient.scale=1.0" in out
  known = " ".join(out.split())
  assert "snas, fair_darts, own_method." in known and "implicit_cg, implicit_neumann, own_hypergradient." in known
  done = run("-m", "experiments.search", f"--imports={SCRIPT}", "--method=darts", "--own_method.penalty=1", "--workdir=x")
  assert done.returncode == 2 and "own_method.penalty is 1.0; it does nothing with --method=darts" in done.stderr


@pytest.mark.parametrize("as_script", [True, False], ids=["script", "imports"])
def test_strategies_and_evaluators_reach_the_workers_of_a_comparison(as_script, tmp_path):
  how = (SCRIPT, "compare") if as_script else ("-m", "experiments.compare", f"--imports={SCRIPT}")
  write_npz(tmp_path / "table.npz", {"cifar10": planted()})
  settings = ("--own_strategy.offset=3", "--own_evaluator.cost=20", f"--table={tmp_path / 'table.npz'}")
  command = (*how, "--compilation_cache=none", f"--workdir={tmp_path / 'runs'}", *COMPARE, *settings)
  done = run(*command)
  assert done.returncode == 0, done.stderr
  for seed in range(4):
    cell = tmp_path / "runs" / "nasbench201" / "own_evaluator" / "own_strategy" / f"seed_{seed:04d}"
    assert len((cell / "journal.jsonl").read_text().splitlines()) == 5
    flat = config_of(cell)["config"]
    assert (flat["own_strategy.offset"], flat["own_evaluator.cost"]) == (3, 20.0)
  again = run(*command, "--own_evaluator.cost=10")
  assert again.returncode == 2 and "own_evaluator.cost: 20.0 -> 10.0" in again.stderr


def test_a_tuning_on_an_own_space_prints_a_command_that_runs(tmp_path):
  training = ("space=own_space", "genotype=random:0", "network.channels=2", "network.cells=1", "network.auxiliary=false", "train.epochs=1")
  flags = [f"--training.{flag}" for flag in (*training, "data.dataset=synthetic", "data.batch_size=32")]
  tuning = ("--search_space=train.learning_rate = log(0.01, 0.3)", "--study.trials=1", "--study.pruner=none", "--seeds=0")
  done = run("-m", "experiments.tune", f"--imports={SCRIPT}", cache_flag(), f"--workdir={tmp_path / 'tuned'}", *flags, *tuning)
  assert done.returncode == 0, done.stderr
  (command,) = re.findall("^the best trial again: (.*)$", done.stdout, re.MULTILINE)
  again = run(*shlex.split(command)[1:], cache_flag())
  assert again.returncode == 0, again.stderr
  folders = tmp_path / "tuned" / "trials" / "trial_0000", tmp_path / "tuned_best"
  results = [json.loads((folder / "result.json").read_text()) for folder in folders]
  assert results[0]["valid/loss"] == results[1]["valid/loss"]


BROKEN = {
  "syntax.py": ("def f(:", "SyntaxError: invalid syntax"),
  "fails.py": ("import math\n\nmath.sqrt('a')\n", r"TypeError: must be real number.*fails\.py, line 3\); correct it"),
  "leaves.py": ("import sys\nsys.exit(3)", r"SystemExit: 3; .*leaves\.py, line 2"),
  "launches.py": ("from dnas.launchers import search\nsearch.main(['search'])", "importing it runs a launcher; put that call under"),
  "random.py": ("", "'random' is taken or is not a name of a module"),
  "twice.py": ("from dnas.search.gradient.methods import METHODS\nMETHODS.register('gdas')(object)", "method 'gdas' is registered twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_modules_that_cannot_be_imported(name, tmp_path):
  text, message = BROKEN[name]
  (tmp_path / name).write_text(text)
  modules = set(sys.modules)
  with pytest.raises(InputError, match=message) as raised:
    _units.load([str(tmp_path / name)])
  assert str(raised.value).startswith(f"--imports={tmp_path / name} cannot be imported") and "\n" not in str(raised.value)
  assert not {module for module in set(sys.modules) - modules if module == pathlib.Path(name).stem}


def test_modules_that_are_not_there(tmp_path):
  for entry in (f"{tmp_path}/none.py", "no.such_module", "nosuchmodule"):
    with pytest.raises(InputError, match=f"^--imports={entry} cannot be imported"):
      _units.load([entry])


def test_a_module_is_imported_once(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "counts_imports.py").write_text(f"with open({str(tmp_path / 'count')!r}, 'a') as file:\n  file.write('x')\n")
  try:
    for entry in (tmp_path / "counts_imports.py", f"{tmp_path}/../{tmp_path.name}/counts_imports.py"):
      _units.load([str(entry)])
    assert (tmp_path / "count").read_text() == "x"
  finally:
    del sys.modules["counts_imports"]
