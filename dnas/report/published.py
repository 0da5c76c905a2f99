"""Published results on NAS-Bench-201, to stand beside our own; never used for anything but reports.

An entry that was not read in the method's own paper names the paper that quotes it.
"""

from typing import NamedTuple


class Published(NamedTuple):
  """One published figure.

  Attributes:
    method: as its paper calls it.
    dataset: 'cifar10', 'cifar100' or 'imagenet16_120'.
    valid: validation accuracy in percent, as printed; empty if not given.
    test: test accuracy in percent, as printed.
    source: where it was read.
  """

  method: str
  dataset: str
  valid: str
  test: str
  source: str


_DRNAS = "quoted in the repository of DrNAS"
_COLLM = 'quoted in "CoLLM-NAS"'
_COMPARED = 'quoted in a table of "MathNAS"'

NASBENCH201 = (
  Published("random search", "cifar10", "90.96±0.24", "93.83±0.09", _COLLM),
  Published("random search", "cifar100", "71.62±0.73", "71.52±0.93", _COLLM),
  Published("random search", "imagenet16_120", "45.52±0.48", "45.37±0.54", _COLLM),
  Published("REINFORCE", "cifar10", "91.20±0.41", "93.94±0.25", _COLLM),
  Published("REINFORCE", "cifar100", "71.51±0.93", "71.78±1.20", _COLLM),
  Published("REINFORCE", "imagenet16_120", "45.22±0.79", "45.95±0.76", _COLLM),
  Published("regularized evolution", "cifar10", "91.33±0.35", "94.23±0.25", _COLLM),
  Published("regularized evolution", "cifar100", "72.31±1.07", "72.82±0.87", _COLLM),
  Published("regularized evolution", "imagenet16_120", "46.19±0.46", "46.49±0.60", _COLLM),
  Published("DARTS, first order", "cifar10", "39.77±0.00", "54.30±0.00", _COMPARED),
  Published("DARTS, first order", "cifar100", "15.03±0.00", "15.61±0.00", _COMPARED),
  Published("DARTS, first order", "imagenet16_120", "16.43±0.00", "16.32±0.00", _COMPARED),
  Published("DARTS, second order", "cifar10", "39.77±0.00", "54.30±0.00", _COMPARED),
  Published("SETN", "cifar10", "84.04±0.28", "87.64±0.00", _COMPARED),
  Published("SETN", "cifar100", "58.86±0.06", "59.05±0.24", _COMPARED),
  Published("SETN", "imagenet16_120", "33.06±0.02", "32.52±0.21", _COMPARED),
  Published("ENAS", "cifar10", "", "54.30±0.00", _DRNAS),
  Published("ENAS", "cifar100", "", "10.62±0.27", _DRNAS),
  Published("ENAS", "imagenet16_120", "", "16.32±0.00", _DRNAS),
)
"""Figures of the searches on NAS-Bench-201; those of weight sharing differ between versions of the benchmark, by how they normalize."""
