"""Measures on scikit-learn's 8x8 digits what a network gains by inheriting the weights of a smaller one.

  python -m benchmarks.morphism --workdir=runs/morphism

For each of five seeds: the smallest chain is trained for 20 epochs. A child, five exact morphisms away, is trained for 17 epochs from its
weights, and for 20 epochs from new ones. The table tells how many epochs the child took to pass its parent in both cases. The same command
again resumes the measurement. Results: docs/morphism.md.
"""

import json
import pathlib
import sys

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


def measure(seed: int, folder: pathlib.Path) -> dict[str, object]:
  """Trains parent and child for one seed."""
  data = base.Config(dataset="digits", train_portion=0.7, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False)
  network = derived_image.Config(channels=8, auxiliary=False)
  evaluate = Morphism(Config(noise=0.0), SPACE, images.Config(), network, data, datasets.from_config(data), seed, folder)
  parent = Proposal(SPACE.smallest())
  child = child_of(parent.genotype, np.random.default_rng(seed))
  heir, alone = Proposal(child, parent=trial_id(parent)), Proposal(child)
  before, inherited, scratch = (evaluate(proposal) for proposal in (parent, heir, alone))
  curves = {name: evaluate.curve(proposal) for name, proposal in (("inherited", heir), ("scratch", alone))}
  return {
    "seed": seed,
    "child": SPACE.notation(child),
    "parent": before.score,
    "start": inherited.metrics["start/valid/accuracy"],
    "inherited": inherited.score,
    "scratch": scratch.score,
    **{f"epochs_{name}": epochs_to_pass(curve, before.score) for name, curve in curves.items()},
    "curves": curves,
    "seconds": {"parent": before.cost, "inherited": inherited.cost, "scratch": scratch.cost},
  }


def main(argv: list[str]) -> None:
  """Measures all seeds, writes result.json and prints the table."""
  del argv
  root = pathlib.Path(_WORKDIR.value)
  rows = []
  for seed in range(_SEEDS.value):
    rows.append(measure(seed, root / f"seed_{seed:04d}"))
    durable.write(root / "result.json", json.dumps(rows, indent=2))
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in rows[-1].items() if name != "curves"}
    print(json.dumps(shown), flush=True)


if __name__ == "__main__":
  sys.exit(app.run(main))
