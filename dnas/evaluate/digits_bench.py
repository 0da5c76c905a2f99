"""`digits_bench`: every architecture of a small space, trained on the digits from several seeds, as a table in the package.

`docs/results/digits_bench.md` is its datasheet. The file holds arrays. The first axis of each is the architecture, in the order of
`tabular.all_genotypes`:

    valid_correct   (rows, seeds, epochs)   how many validation examples were right after every epoch
    valid_loss      (rows, seeds, epochs)   loss on the validation set, nats
    train_loss      (rows, seeds, epochs)   mean loss of the batches, nats
    test_correct    (rows, seeds)           how many test examples were right after the last epoch
    test_loss       (rows, seeds)           nats
    seconds         (rows,)                 measured seconds of one training, validation included
"""

import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.core.errors import InputError, shown
from dnas.core.genotype import Genotype
from dnas.data import base
from dnas.evaluate.tabular import Table, all_genotypes
from dnas.nets import switched_image
from dnas.train import switched

Rows = Mapping[str, np.ndarray]

SPACE = switched_image.SPACE
FILE = pathlib.Path(__file__).with_name("digits_bench.npz")

TRAINING = switched.Config()
DATA = base.Config(dataset="digits", train_portion=0.6, split="stratified", batch_size=30, crop_padding=1)
"""How the rows of the file divide and augment the digits: 900 train, 600 validate, 297 test."""

SEEDS, NUM_VALID, NUM_TEST = 3, 600, 297
MEASURED = "seconds"
"""The array that differs when a row is made again."""

_TEST = "test_"


def load(seed: int | None = None) -> Table:
  """Returns the table. Its epochs are those of one training, so a longer training continues a shorter one.

  Args:
    seed: the seed of the trainings whose validation accuracy the table has; None takes the mean over all seeds. Test accuracy is always
      the mean over all seeds.

  Raises:
    InputError: if no training has this seed.
  """
  rows = _shipped()
  seeds, epochs = rows["valid_correct"].shape[1:]
  if seed is not None and seed not in range(seeds):
    raise InputError(f"digits_bench has no training of seed {shown(seed)}; give 0 to {seeds - 1}, or none for the mean.")
  right = rows["valid_correct"].mean(1) if seed is None else rows["valid_correct"][:, seed]
  valid = {epoch: 100 * right[:, epoch - 1] / NUM_VALID for epoch in range(1, epochs + 1)}
  seconds = {epoch: rows[MEASURED].astype(float) * (epoch / epochs) for epoch in valid}
  test = {epochs: 100 * rows["test_correct"].mean(1) / NUM_TEST}
  name = "digits_bench" if seed is None else f"digits_bench (seed {seed})"
  return Table(name, all_genotypes(SPACE), valid, test, seconds, SPACE, continued=True, costs=_costs())


def measurements() -> dict[str, np.ndarray]:
  """Returns all of the file but what was measured on the test set, and the costs of the networks.

  The names are those of the file, and 'weights' and 'multiply_adds' of one image, int64 [rows]; see `switched_image.count`.
  """
  kept = {name: array for name, array in _shipped().items() if not name.startswith(_TEST)}
  return kept | _costs()


@functools.cache
def _costs() -> dict[str, np.ndarray]:
  sizes = switched_image.Sizes(TRAINING.channels, TRAINING.cells)
  weights, products = np.array([switched_image.count(sizes, genotype) for genotype in all_genotypes(SPACE)]).T
  return {"weights": weights, "multiply_adds": products}


@functools.cache
def _shipped() -> Rows:
  return rows_with_test(FILE)


def rows_with_test(path: pathlib.Path) -> Rows:
  """Returns the arrays of a file; only its maker may use those of the test set."""
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def make_rows(training: switched.SwitchedTraining, chosen: Sequence[Genotype], test: base.Split) -> Rows:
  """Trains architectures and measures each once on the test split, after its training."""
  rows: dict[str, list[Any]] = {}
  for genotype in chosen:
    operations, began = switched_image.encode(genotype), time.perf_counter()
    variables, curves = training(operations)
    seconds = (time.perf_counter() - began) / len(curves.train_loss)
    loss, right = training.measure(variables, operations, test)
    row = {"valid_correct": curves.valid_correct.astype(np.uint16), "valid_loss": _rounded(curves.valid_loss)}
    row |= {"train_loss": _rounded(curves.train_loss), "test_correct": right.astype(np.uint16), "test_loss": _rounded(loss)}
    for name, value in (row | {MEASURED: np.float32(seconds)}).items():
      rows.setdefault(name, []).append(value)
  return {name: np.stack(values) for name, values in rows.items()}


def _rounded(loss: np.ndarray) -> np.ndarray:
  """Returns losses as float16; one beyond its range becomes its largest number."""
  return np.minimum(loss, np.finfo(np.float16).max).astype(np.float16)
