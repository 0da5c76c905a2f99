"""GAEA PC-DARTS search on CIFAR-10, as published.

Paper: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021, section 4.2.
Command: dnas search --preset=gaea_pc_darts_cifar10 --workdir=runs/gaea_pc_darts_cifar10
Expected result: a genotype to retrain (darts_cifar10_retrain).
Expected time: the paper reports 0.1 GPU-days.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.gaea import Gaea

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="gaea",
  gaea=Gaea(partial_channels=4, edge_weights=True, uniform_start=True, smallest=1e-5),
  data=dataclasses.replace(_BASE.data, batch_size=256),
  darts=dataclasses.replace(_BASE.darts, learning_rate=0.1, final_learning_rate=0.0, arch_warmup_epochs=15, arch_learning_rate=0.1),
)
