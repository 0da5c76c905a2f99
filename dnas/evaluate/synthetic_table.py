"""A planted table of results over the space of NAS-Bench-201: for tests, and for machines without the real one.

The landscape is known. Every edge prefers one operation, and architectures that differ in one edge have similar accuracy; a penalty on
pairs of edges makes it not quite additive; a shorter training reaches less and has more noise. Accuracies and times are like CIFAR-10's.
Nothing in it is a measurement.
"""

import dataclasses
import functools

import numpy as np

from dnas.cells import nasbench201
from dnas.core import keys
from dnas.core.config import check, check_not_negative, check_types
from dnas.evaluate.tabular import MOST_EPOCHS, Table, all_genotypes

_WORST, _BEST = 10.0, 94.0
_MOST_NOISE, _MOST_RUGGEDNESS = 100.0, 100.0
_GROWTH = 0.03  # accuracy above the worst grows with this power of the epochs: at 12 epochs it is 92 % of that at 200
_SECONDS = (3.0, 3.5, 8.0, 14.0, 5.0)  # of an epoch, per edge, in the order of the operations, divided by the number of edges


@dataclasses.dataclass(frozen=True)
class Config:
  """Shape of the landscape.

  Attributes:
    seed: of everything that is drawn; not negative.
    epochs: lengths of training that the table knows, ascending; the last is the full one.
    noise: standard deviation of validation accuracy after the full training, percentage points; it grows with the root of how many times
      shorter a training is.
    ruggedness: size of the penalties on pairs of edges, as a share of the effects of single edges.
  """

  seed: int = 0
  epochs: tuple[int, ...] = (12, 200)
  noise: float = 0.5
  ruggedness: float = 0.3

  def __post_init__(self):
    check_types(self)
    check_not_negative(seed=self.seed, noise=self.noise, ruggedness=self.ruggedness)
    ascending = bool(self.epochs) and self.epochs[0] > 0 and all(a < b for a, b in zip(self.epochs, self.epochs[1:], strict=False))
    check(ascending, "epochs", self.epochs, "give numbers above zero, each larger than the one before")
    check(self.epochs[-1] < MOST_EPOCHS, "epochs", self.epochs, f"the last one must be below {MOST_EPOCHS}")
    check(self.noise <= _MOST_NOISE, "noise", self.noise, f"it is in percentage points, so give at most {_MOST_NOISE:g}")
    check(self.ruggedness <= _MOST_RUGGEDNESS, "ruggedness", self.ruggedness, f"it is a share, so give at most {_MOST_RUGGEDNESS:g}")


def planted(config: Config = Config()) -> Table:  # noqa: B008  (frozen)
  """Returns the table. Row k is the k-th of `all_genotypes`; `optimum` names the best one, which every number of epochs shows."""
  rng = keys.generator(config.seed, "noise of the table")
  operations = _operations()
  quality = _quality(config, operations)
  best = int(quality.argmax())
  valid, seconds = {}, {}
  for epochs in config.epochs:
    share = epochs / config.epochs[-1]
    noise = config.noise * share**-0.5 * rng.standard_normal(len(quality))
    column = np.clip(_WORST + (_accuracy(quality) - _WORST) * share**_GROWTH + noise, 0, 99)
    column[best] = np.delete(column, best).max() + 0.25  # the optimum stands out, by a quarter of a point
    valid[epochs] = column
    seconds[epochs] = epochs * np.array(_SECONDS)[operations].mean(-1)
  test = {config.epochs[-1]: np.clip(_accuracy(quality) + config.noise * rng.standard_normal(len(quality)), 0, 100)}
  return Table(f"planted table (seed {config.seed})", all_genotypes(), valid, test, seconds)


def optimum(config: Config = Config()) -> int:  # noqa: B008
  """Returns the row of the architecture that is best at every number of epochs."""
  return int(_quality(config, _operations()).argmax())


@functools.cache
def _operations() -> np.ndarray:
  """Returns the operations of all architectures, [rows, edges]."""
  return np.array([nasbench201.SPACE.encode(genotype) for genotype in all_genotypes()])


def _quality(config: Config, operations_RE: np.ndarray) -> np.ndarray:
  """Returns what an architecture is worth, [rows], in [0, 1]; 1 at the optimum alone."""
  rng = keys.generator(config.seed, "quality of the table")
  num_edges, num_operations = len(nasbench201.SPACE.edges), len(nasbench201.SPACE.choices)
  best = rng.integers(num_operations, size=num_edges)
  effects = rng.uniform(0, 0.8, size=(num_edges, num_operations))
  effects[np.arange(num_edges), best] = 1
  effects *= rng.uniform(0.5, 1.5, size=(num_edges, 1))  # some edges matter more
  quality = effects[np.arange(num_edges), operations_RE].sum(-1)
  for first in range(num_edges):
    for second in range(first):
      penalties = rng.uniform(0, config.ruggedness, size=(num_operations, num_operations))
      penalties[best[first], best[second]] = 0
      quality = quality - penalties[operations_RE[:, first], operations_RE[:, second]]
  return (quality - quality.min()) / (quality.max() - quality.min())


def _accuracy(quality: np.ndarray) -> np.ndarray:
  """Returns accuracy in percent; most architectures lie near the top, as on real tables."""
  return _WORST + (_BEST - _WORST) * (1 - (1 - quality) ** 3)
