"""PC-DARTS search on CIFAR-10, as published.

Paper: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020, section 4.2.
Command: dnas search --preset=pc_darts_cifar10 --workdir=runs/pc_darts_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.57 +- 0.07 % test error (table 1).
Expected time: the paper reports 0.1 GPU-days.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.pc_darts import PCDarts

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="pc_darts",
  pc_darts=PCDarts(partial_channels=4),
  data=dataclasses.replace(_BASE.data, batch_size=256),
  darts=dataclasses.replace(_BASE.darts, learning_rate=0.1, final_learning_rate=0.0, arch_warmup_epochs=15, arch_learning_rate=6e-4),
)
