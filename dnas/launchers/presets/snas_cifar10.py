"""SNAS search on CIFAR-10 without the resource constraint, with the temperatures of the published code.

Paper: Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019, section 3.1.
Command: dnas search --preset=snas_cifar10 --workdir=runs/snas_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.85 +- 0.02 % test error with the moderate constraint (table 1).
Expected time: the paper reports 1.5 GPU-days.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.snas import Snas

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="snas",
  hypergradient="single_level",
  snas=Snas(start_temperature=1.0, end_temperature=0.03),
  darts=dataclasses.replace(_BASE.darts, epochs=150, final_learning_rate=0.0, arch_learning_rate=1e-3),
)
