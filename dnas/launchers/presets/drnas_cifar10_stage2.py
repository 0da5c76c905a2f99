"""DrNAS search on CIFAR-10, second of two stages: fewer operations, which see half of the channels.

Paper: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, sections 2.3 and 4.1; see drnas_cifar10.
Command: dnas search --preset=drnas_cifar10_stage2 --start_from=runs/drnas_cifar10 --workdir=runs/drnas_cifar10_stage2
Expected result: a genotype to retrain (darts_cifar10_retrain). The paper reports 2.46 +- 0.03 % test error (table 1).
Expected time: the paper reports 0.6 GPU-days for two stages on a larger supernet.
"""

import dataclasses

from dnas.launchers.presets import drnas_cifar10
from dnas.search.gradient.methods.drnas import DrNas

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  drnas_cifar10.CONFIG,
  start_from="runs/drnas_cifar10",
  keep_operations=4,
  drnas=DrNas(partial_channels=2, softmax=True),
)
