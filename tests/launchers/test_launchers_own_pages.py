"""The page of every kind of unit: its file, from a folder outside of the project, by its command on shrunken flags."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from own_pages import KINDS, PAGES, commands_of, file_of
from tiny_runs import ENVIRONMENT, SEARCH, TRAIN, cache_flag

from dnas.cells.operations import OPERATIONS
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES, STACKS
from dnas.core.errors import InputError
from dnas.data import metrics
from dnas.data.base import DATASETS
from dnas.data.metrics import METRICS
from dnas.launchers import compare, search, test, train
from dnas.launchers._evaluator_makers import EVALUATORS
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS
from dnas.supernet.hypergradients import HYPERGRADIENTS

REGISTRIES = {
  "operation": OPERATIONS,
  "space": SPACES,
  "published_cell": IMAGE_GENOTYPES,
  "method": METHODS,
  "hypergradient": HYPERGRADIENTS,
  "strategy": STRATEGIES,
  "evaluator": EVALUATORS,
  "data_set": DATASETS,
  "metric": METRICS,
}
LAUNCHERS = {"search": search, "train": train, "compare": compare, "test": test}
SHRUNKEN = {"search": (*SEARCH, "--darts.epochs=1"), "train": TRAIN, "compare": ("--seeds=2", "--seconds=3", "--pool.workers=1")}


@pytest.fixture
def forgotten(monkeypatch):
  """Forgets in the end what a test registered and imported."""
  for registry in (*REGISTRIES.values(), STACKS):
    monkeypatch.setattr(registry, "_units", dict(registry._units))
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.setattr("dnas.core.registry._MODULES", {})
  modules = set(sys.modules)
  yield
  for name in set(sys.modules) & set(KINDS) - modules:
    del sys.modules[name]


def test_every_kind_has_a_page_that_the_index_names():
  assert set(KINDS) == set(REGISTRIES)
  index = (PAGES / "index.md").read_text()
  assert all(f"]({kind}.md)" in index for kind in KINDS)


def shrunken(command):
  """The page's command on the smallest data and networks; what the page says about data and metrics stands."""
  launcher, *flags = command
  names = {flag.partition("=")[0] for flag in flags}
  return launcher, [flag for flag in SHRUNKEN[launcher] if flag.partition("=")[0] not in names] + flags


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_of_a_page_runs_by_its_commands(kind, tmp_path, monkeypatch, capsys, forgotten):
  known = {name: set(registry) for name, registry in REGISTRIES.items()}
  monkeypatch.chdir(tmp_path)
  file_of(kind, tmp_path)
  if kind == "data_set":
    (tmp_path / "data" / "flowers").mkdir(parents=True)
    for part in ("train", "test"):
      images = np.random.default_rng(0).integers(0, 255, (96, 8, 8, 3), np.uint8)
      np.savez(tmp_path / "data" / "flowers" / part, images=images, labels=np.arange(96) % 4)
  for command in commands_of(kind):
    launcher, flags = shrunken(command)
    assert LAUNCHERS[launcher].main([launcher, cache_flag(), *flags]) == 0, capsys.readouterr().err
    (workdir,) = (tmp_path / flag.partition("=")[2] for flag in flags if flag.startswith("--workdir="))
    (config, *_) = sorted(workdir.rglob("config.json"))
    units = json.loads(config.read_text())["units"]
    assert list(units) == [kind] and len(units[kind]) == 64
  new = {name: set(registry) - known[name] for name, registry in REGISTRIES.items()}
  assert new[kind]
  if kind == "metric":
    result = json.loads((workdir / "result.json").read_text())
    assert 0 < result["test/reciprocal_rank"] <= 1 and 0 < result["test/brier_score"] <= 2
    again = ["test", cache_flag(), "--imports=metric.py", f"--run={workdir}", "--metrics=top_5_accuracy,reciprocal_rank"]
    assert test.main(again) == 0, capsys.readouterr().err
    (numbers,) = (json.loads(path.read_text()) for path in (workdir / "tests").glob("*_test.json"))
    assert numbers["reciprocal_rank"] == pytest.approx(result["test/reciprocal_rank"]) and numbers["loss"] == result["test/loss"]


def test_a_run_says_that_a_file_has_changed(tmp_path, monkeypatch, caplog, capsys, forgotten):
  monkeypatch.chdir(tmp_path)
  path = file_of("published_cell", tmp_path)
  flags = ["train", cache_flag(), *TRAIN, "--imports=published_cell.py", "--genotype=MINE", "--workdir=run"]
  assert train.main(flags) == 0, capsys.readouterr().err
  assert train.main(flags) == 0 and not caplog.records
  path.write_text(path.read_text() + "\n# changed\n")
  assert train.main(flags) == 0
  assert any("begun when the file of 'published_cell' was another" in record.getMessage() for record in caplog.records)


@pytest.fixture
def installed(tmp_path):
  """A package that is installed in a folder, with an entry point."""
  package, about = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
  package.mkdir(), about.mkdir()
  (package / "__init__.py").write_text("")
  file_of("metric", tmp_path).rename(package / "units.py")
  (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
  (about / "entry_points.txt").write_text("[dnas.units]\nmine = my_package.units\n")
  return package


def test_an_installed_package_needs_no_flag(installed, tmp_path):
  environment = ENVIRONMENT | {"PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{tmp_path}"}
  flags = (*TRAIN, "--genotype=random:0", "--data.metrics=reciprocal_rank", f"--workdir={tmp_path / 'run'}")
  command = [sys.executable, "-m", "dnas", "train", cache_flag(), *flags]
  done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "--imports" not in done.stdout and "test/reciprocal_rank" in (tmp_path / "run" / "result.json").read_text()
  assert list(json.loads((tmp_path / "run" / "config.json").read_text())["units"]) == ["my_package.units"]
  (installed / "units.py").write_text("import dnas\ndnas.METRIX")
  done = subprocess.run([*command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
  assert done.returncode == 2 and done.stderr.count("\n") == 1, shlex.join(command)
  assert "installed package 'my-package' has units in my_package.units, which cannot be imported" in done.stderr


def test_metrics_that_do_not_fit_are_refused(forgotten):
  with pytest.raises(InputError, match="metric 'accuracy' has the name of a number that is always reported"):
    METRICS.register("accuracy")(metrics.brier_score)
  METRICS.register("of_the_batch")(lambda logits, labels: logits.mean())
  with pytest.raises(InputError, match=r"metric 'of_the_batch' returns an array of shape \(\) for 3 examples"):
    metrics.values("of_the_batch", np.zeros((3, 2)), np.zeros(3, int))


def test_metrics_by_hand():
  logits, labels = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])), np.array([0, 1])
  np.testing.assert_allclose(metrics.values("brier_score", logits, labels), [0.25 + 2 / 16, 0.01 + 0.81 + 0.64], rtol=1e-6)
  ten = np.arange(10.0)[None].repeat(10, 0)
  assert metrics.values("top_5_accuracy", ten, np.arange(10)).tolist() == [0] * 5 + [1] * 5
