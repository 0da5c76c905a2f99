"""Measures on scikit-learn's 8x8 digits what a network gains by inheriting the weights of a smaller one.

  python -m benchmarks.morphism --workdir=runs/morphism

For each of five seeds: the smallest chain is trained for 20 epochs. A child, five exact morphisms away, is trained for 17 epochs from its
weights, at several learning rates, and for 20 epochs from new weights. The result tells how many epochs the child took to pass its parent.
The same command again resumes the measurement. Results: docs/methods/morphism.md.
"""

import json
import pathlib
import shutil
import sys
from typing import Any

import numpy as np
from absl import app, flags

from dnas.cells.conv_chain import SPACE
from dnas.core import durable
from dnas.core.genotype import Genotype
from dnas.core.records import Proposal
from dnas.core.trials import trial_id
from dnas.data import base, datasets
from dnas.evaluate.morphism import Config, Morphism
from dnas.nets import derived_image
from dnas.nets.morphisms.chain import MORPHISMS
from dnas.train import images

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the trainings and of result.json", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 5, "number of seeds", lower_bound=1)
_STEPS = 5
_RATES = (0.05, 0.01, 0.002)


def child_of(genotype: Genotype, rng: np.random.Generator) -> Genotype:
  """Returns a chain after exact morphisms; the kind of each is drawn uniformly, and then its place."""
  for _ in range(_STEPS):
    edits = [edit for edit in SPACE.edits(genotype) if MORPHISMS[edit.kind].exact]
    kinds = list(dict.fromkeys(edit.kind for edit in edits))
    kind = kinds[rng.integers(len(kinds))]
    of_kind = [edit for edit in edits if edit.kind == kind]
    genotype = SPACE.edited(genotype, of_kind[rng.integers(len(of_kind))])
  return genotype


def epochs_to_pass(curve: list[float], accuracy: float) -> int | None:
  """Returns the first epoch after which an accuracy is passed; None if none does."""
  return next((epoch for epoch, value in enumerate(curve, 1) if value > accuracy), None)


def measure(seed: int, folder: pathlib.Path) -> dict[str, Any]:
  """Trains parent and child for one seed."""
  data = base.Config(dataset="digits", train_portion=0.7, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False)
  network = derived_image.Config(channels=8, auxiliary=False)
  parts = network, data, datasets.from_config(data)
  evaluate = Morphism(Config(noise=0.0), SPACE, images.Config(), *parts, seed, folder)
  parent = Proposal(SPACE.smallest())
  child = child_of(parent.genotype, np.random.default_rng(seed))
  heir, alone = Proposal(child, parent=trial_id(parent)), Proposal(child)
  before, scratch = evaluate(parent), evaluate(alone)
  found: dict[str, Any] = {"seed": seed, "child": SPACE.notation(child), "parent": before.score, "scratch": scratch.score}
  curve = evaluate.curve(alone)
  found |= {"scratch_curve": curve, "scratch_epochs": epochs_to_pass(curve, before.score)}
  for rate in _RATES:
    own = folder / f"rate_{rate}"
    if not (own / trial_id(parent)).exists():
      shutil.copytree(folder / trial_id(parent), own / "copy", dirs_exist_ok=True)
      (own / "copy").rename(own / trial_id(parent))
    evaluate = Morphism(Config(noise=0.0, learning_rate=rate), SPACE, images.Config(), *parts, seed, own)
    inherited, curve = evaluate(heir), evaluate.curve(heir)
    found |= {f"{rate}": inherited.score, f"{rate}_start": inherited.metrics["start/valid/accuracy"]}
    found |= {f"{rate}_curve": curve, f"{rate}_epochs": epochs_to_pass(curve, before.score)}
  return found


def main(argv: list[str]) -> None:
  """Measures all seeds, writes result.json and prints the table."""
  del argv
  root = pathlib.Path(_WORKDIR.value)
  rows = []
  for seed in range(_SEEDS.value):
    rows.append(measure(seed, root / f"seed_{seed:04d}"))
    durable.write(root / "result.json", json.dumps(rows, indent=2))
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in rows[-1].items() if not name.endswith("curve")}
    print(json.dumps(shown), flush=True)


if __name__ == "__main__":
  sys.exit(app.run(main))
