"""Trains the network of one architecture from scratch, and tests it once, at the end.

  python -m experiments.train --preset=digits_demo_retrain --genotype=runs/first --workdir=runs/first_retrained

--genotype takes a published name (DARTS_V2), the folder of a search, a file with a genotype, or random:SEED. This is the only launcher
that opens the test set, after the last epoch. The same command again resumes a run that was stopped or killed.
"""

import json
import pathlib
import sys

import numpy as np
from absl import logging

from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import config as config_lib
from dnas.core import genotype as genotypes
from dnas.core import tree
from dnas.core.config import check_name
from dnas.core.errors import InputError, shown, unknown_name
from dnas.core.genotype import Genotype
from dnas.data import base, batches, datasets
from dnas.report.plots import save_pictures
from dnas.train import images
from experiments import _flags, _run
from experiments.configs import TrainConfig


def load_genotype(text: str) -> Genotype:
  """Returns the genotype that --genotype names, checked against its space.

  Raises:
    InputError: if there is none, or it is no network of its space.
  """
  space = SPACES["darts_conv"]
  if text in IMAGE_GENOTYPES:
    return IMAGE_GENOTYPES[text]
  kind, _, seed = text.partition(":")
  if kind == "random":
    if not (seed.isdecimal() and len(seed) <= 20):
      raise InputError(f"--genotype={text[:60]} has no seed; write random:0, random:1, ...")
    return space.sample(np.random.default_rng(int(seed)))
  try:
    path = pathlib.Path(text).expanduser()
    if path.is_dir():
      path = path / "genotype.json"
      if not path.exists():
        raise InputError(f"--genotype={text} holds no genotype.json; give the folder of a search that has come to its end.")
    if not path.is_file():
      raise FileNotFoundError
    content = path.read_text(encoding="utf-8")
  except FileNotFoundError:
    check_name("genotype", text, IMAGE_GENOTYPES, others="the folder of a search, a file with a genotype, or random:SEED")
  except UnicodeDecodeError:
    raise InputError(f"--genotype={text} is no text; give a file with a genotype.") from None
  except (OSError, RuntimeError) as e:  # a name that is too long or forbidden; the home of a user who does not exist
    cause = (getattr(e, "strerror", None) or str(e)).lower()
    raise InputError(f"--genotype={shown(text)} cannot be read ({cause}); give a published name, a folder or a file.") from None
  found = genotypes.parse(content, space.name, space.edges_per_node, where=str(path))
  if found.space not in SPACES:
    raise InputError(f"{path}: {unknown_name('space', found.space, SPACES)}")
  return SPACES[found.space].validate(found, where=str(path))


def run(config: TrainConfig, options: _flags.Options, given: set[str]) -> None:
  """Trains or resumes, and tests once."""
  _flags.require_workdir(options)
  _run.use_compilation_cache(options.compilation_cache)
  genotype = load_genotype(config.genotype)
  dataset = datasets.from_config(config.data)
  task = images.RetrainTask(config.train, config.network, config.data, dataset, genotype, config.seed)
  flat = config_lib.flatten(config) | {"architecture": genotype.to_json()}
  with _run.open_folder(options, "train", flat) as folder:
    position = _run.run(task, folder, options)
    folder.write_genotype(genotype.to_json())
    result_path = folder.path / "result.json"
    if not result_path.exists():
      test = base.open_test(dataset, f"the training in {folder.path} has come to its end")
      metrics = {f"test/{name}": value for name, value in task.evaluate(position.state, batches.to_device(test)).items()}
      weights = tree.size(position.state.weights) - tree.size(position.state.weights.get("auxiliary", {}))
      folder.write_result({"genotype": genotype.to_json(), "weights": weights, **position.history[-1]["metrics"], **metrics})
    save_pictures(folder.path, SPACES[genotype.space])
  result = json.loads(result_path.read_text())
  error = 100 * (1 - result["test/accuracy"])
  print(f"\ntest error {error:.2f} %  test loss {result['test/loss']:.4f}  weights {result['weights']:,}")
  print(f"pictures: {folder.path / 'pictures'}")


LAUNCHER = _flags.Launcher("train", TrainConfig(), run, __doc__)
main = LAUNCHER.main

if __name__ == "__main__":
  logging.set_verbosity(logging.INFO)
  sys.exit(main(sys.argv))
