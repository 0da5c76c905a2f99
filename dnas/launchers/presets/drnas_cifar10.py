"""DrNAS search on CIFAR-10, first of two stages: operations see a quarter of the channels.

Paper: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, sections 2.3 and 4.1; the sizes of the stages are ours.
The published code gives three settings: the operations without `none`, the learning rate of the architecture, and the discretization by the
softmax of the parameters.
Command: dnas search --preset=drnas_cifar10 --workdir=runs/drnas_cifar10
Expected result: a supernet and a genotype from which drnas_cifar10_stage2 starts.
Expected time: the paper reports 0.6 GPU-days for two stages on a larger supernet.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.drnas import DrNas

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="drnas",
  without="none",
  drnas=DrNas(partial_channels=4, softmax=True),
  darts=dataclasses.replace(_BASE.darts, epochs=25, learning_rate=0.1, final_learning_rate=0.0, arch_learning_rate=6e-4),
)
