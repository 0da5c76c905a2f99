"""The launchers as functions: they do what the commands do, resume, and return the result."""

import jax
import numpy as np
import pytest

import dnas

DATA = {"data.dataset": "synthetic", "data.batch_size": 32}
SEARCH = DATA | {"supernet.channels": 2, "supernet.cells": 1, "darts.epochs": 1, "darts.diagnose_every": 0}
TRAIN = DATA | {"network.channels": 2, "network.cells": 1, "train.epochs": 1}


@pytest.fixture
def options():
  return {"compilation_cache": jax.config.jax_compilation_cache_dir or "none"}


def test_a_search_its_drawing_and_its_retraining(tmp_path, options, capsys):
  config = dnas.load_preset("digits_demo", SEARCH)
  found = dnas.run_search(config, tmp_path / "search", **options)
  assert dnas.SPACES["darts_conv"].validate(found.genotype) and 0 <= found.metrics["valid/accuracy"] <= 1
  assert dnas.run_search(config, tmp_path / "search", **options).genotype == found.genotype
  assert "resumed after step" in capsys.readouterr().out
  assert dnas.draw_genotype(found.genotype).axes
  assert isinstance(found, dnas.SearchResult)
  assert dnas.run_searches(config, tmp_path / "search", **options)[0].genotype == found.genotype
  training = dnas.load_preset("digits_demo_retrain", TRAIN)
  result = dnas.run_training(training, tmp_path / "train", found.genotype, **options)
  assert 0 <= result["test/accuracy"] <= 1 and result["weights"] > 0
  assert found.genotype == dnas.SPACES["darts_conv"].parse((tmp_path / "train" / "genotype.json").read_text())


def test_a_comparison(tmp_path, options):
  changes = {"methods": "random_search,local_search", "seeds": 2, "seconds": 2000.0, "pool.workers": 1}
  (compared,) = dnas.run_comparison(dnas.load_preset("synthetic_comparison", changes), str(tmp_path / "compared"), **options)
  assert {name: len(searches) for name, searches in compared.methods.items()} == {"random_search": 2, "local_search": 2}
  assert not compared.incomplete and isinstance(compared, dnas.Comparison)


@pytest.mark.parametrize("name", dnas.SPACES)
def test_a_genotype_is_drawn_with_the_inputs_of_its_space(name):
  space = dnas.SPACES[name]
  figure = dnas.draw_genotype(space.sample(np.random.default_rng(0)))
  states = [text.get_text() for text in figure.axes[0].texts if text.get_label() == "state"]
  assert len(states) == space.num_inputs + space.num_nodes + (3 if space.cells == ("recurrent",) else 1)


def test_a_drawing_of_something_else_is_refused():
  with pytest.raises(dnas.InputError, match="'DARTS_V2' is not a Genotype"):
    dnas.draw_genotype("DARTS_V2")
  with pytest.raises(dnas.InputError, match="unknown space 'mine'"):
    dnas.draw_genotype(dnas.Genotype("mine", ()))


def test_what_cannot_be_used_is_refused(tmp_path, options):
  config = dnas.load_preset("digits_demo", SEARCH)
  with pytest.raises(dnas.InputError, match="save_every_step"):
    dnas.run_search(config, tmp_path / "search", save_every_step=3)
  for option in ("preset", "imports"):
    with pytest.raises(dnas.InputError, match=f"unknown option '{option}'"):
      dnas.run_search(config, tmp_path / "search", **{option: "x"})
  with pytest.raises(dnas.InputError, match="workdir is None"):
    dnas.run_search(config, None, **options)
  with pytest.raises(dnas.InputError, match=r"darts is \{'epochs': 3\}; it must be a dnas.search.gradient.darts.Config"):
    dnas.ImageSearchConfig(darts={"epochs": 3})
  with pytest.raises(dnas.InputError, match="darts.epochs is '4'; it must be a whole number"):
    dnas.load_preset("digits_demo", {"darts.epochs": "4"})
  with pytest.raises(dnas.InputError, match="--workdir is empty"):
    dnas.run_search(config, "", **options)
  with pytest.raises(dnas.InputError, match="run_training does not take 'ImageSearchConfig'; give it to run_search"):
    dnas.run_training(config, tmp_path / "search", **options)
  for function, hint in ((dnas.run_search, "ImageSearchConfig or LanguageSearchConfig"), (dnas.run_comparison, "give CompareConfig")):
    with pytest.raises(dnas.InputError, match=hint):
      function("digits_demo", tmp_path / "search", **options)
  with pytest.raises(dnas.InputError, match="num_seeds is 2.*run_searches"):
    dnas.run_search(dnas.load_preset("digits_demo", SEARCH | {"num_seeds": 2}), tmp_path / "search", **options)
  with pytest.raises(dnas.InputError, match="gdas.start_temperature.*--method=darts"):
    dnas.load_preset("digits_demo", {"gdas.start_temperature": 5.0})
  assert not (tmp_path / "search").exists()
