"""The examples of networks of one's own, shrunken, from a folder outside of the repository."""

import importlib.util
import pathlib
import shutil

import pytest

import dnas

EXAMPLES = pathlib.Path(dnas.__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
SHRUNKEN = {"epochs": 1, "examples": 128}


def test_there_are_six_and_all_are_short():
  assert NAMES == ["image_blocks", "image_transformer", "regression", "segmentation", "text_causal", "widths"]
  for name in NAMES:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60, name


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_from_outside(tmp_path, monkeypatch, name):
  shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
  monkeypatch.chdir(tmp_path)
  spec = importlib.util.spec_from_file_location(f"example_{name}", tmp_path / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  found = module.main("runs/first", **SHRUNKEN, **({"trials": 2} if name == "widths" else {}))
  found, *others = found if isinstance(found, tuple) else (found,)
  assert (tmp_path / "runs" / "first").is_dir() and found.network.space.validate(found.genotype)
  assert isinstance(found.derive(), module.Network) and all(len(other.trials) == 2 for other in others)
  assert 0 < found.metrics["valid/loss"] < 10
