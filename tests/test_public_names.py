"""The public names of `import dnas`: all are there, all are told, and importing the package is quick."""

import ast
import inspect
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import dnas

ROOT = pathlib.Path(dnas.__file__).parents[1]
NAMES = [name for name in dnas.__all__ if name != "__version__"]
HEAVY = ("matplotlib", "optuna", "ray", "sklearn", "tensorflow_datasets", "jax", "flax")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_told(name):
  assert getattr(dnas, name) is not None
  assert f" {name}," in dnas.__doc__ or f" {name}\n" in dnas.__doc__
  if inspect.isclass(getattr(dnas, name)) or inspect.isfunction(getattr(dnas, name)):
    assert getattr(dnas, name).__doc__


def test_the_stub_for_type_checkers_names_the_same():
  tree = ast.parse((ROOT / "dnas" / "__init__.pyi").read_text())
  told = {alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
  assert told == dnas._MODULE_OF and (ROOT / "dnas" / "py.typed").exists()


def test_no_public_name_is_that_of_a_subpackage():
  assert not set(NAMES) & {module.name for module in pkgutil.iter_modules(dnas.__path__)}


def test_registries_are_full():
  assert {"digits", "cifar10"} <= set(dnas.DATASETS) and "ptb" in dnas.TEXTS and "gdas" in dnas.METHODS and "asha" in dnas.STRATEGIES
  assert "darts_conv" in dnas.SPACES and "DARTS_V2" in dnas.IMAGE_GENOTYPES and "training" in dnas.EVALUATORS


def test_another_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="module 'dnas' has no public name 'run_serch'"):
    _ = dnas.run_serch
  assert set(dir(dnas)) == set(dnas.__all__)


@pytest.mark.versions
def test_importing_the_package_imports_nothing_heavy():
  code = f"import dnas, sys; print([name for name in {HEAVY} if name in sys.modules])"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.stdout == "[]\n", done.stderr


def test_a_preset_takes_changes_by_their_flags_and_refuses_others():
  config = dnas.load_preset("digits_demo", {"darts.epochs": 3, "num_seeds": 2})
  assert isinstance(config, dnas.ImageSearchConfig) and (config.darts.epochs, config.num_seeds) == (3, 2)
  assert dnas.load_preset("digits_demo").darts.epochs == 8
  with pytest.raises(dnas.InputError, match="digits_dmo.*'digits_demo'"):
    dnas.load_preset("digits_dmo")
  with pytest.raises(dnas.InputError, match="darts.epochs is 0"):
    dnas.load_preset("digits_demo", {"darts.epochs": 0})
  with pytest.raises(dnas.InputError, match="darts.epoch"):
    dnas.load_preset("digits_demo", {"darts.epoch": 1})
