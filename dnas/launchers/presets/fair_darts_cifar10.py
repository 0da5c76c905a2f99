"""FairDARTS search on CIFAR-10; each node keeps two edges, as in DARTS, and no threshold drops edges.

Paper: Chu et al., "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search", ECCV 2020, section 4.1. The rates of
the architecture and the batch size come from the published command.
Command: dnas search --preset=fair_darts_cifar10 --workdir=runs/fair_darts_cifar10
Expected result: a genotype to retrain (darts_cifar10_retrain). The paper reports 2.54 % test error; it drops edges below a threshold.
Expected time: not measured; a step does the same work as in darts_cifar10_first_order at twice the batch size.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.fair_darts import FairDarts

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="fair_darts",
  fair_darts=FairDarts(zero_one=10.0),
  data=dataclasses.replace(_BASE.data, batch_size=128),
  darts=dataclasses.replace(_BASE.darts, arch_learning_rate=0.005, arch_beta1=0.9),
)
