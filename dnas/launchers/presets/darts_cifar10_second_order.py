"""DARTS search on CIFAR-10 with the second-order hypergradient by finite differences, as published.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.1, equations 7 and 8, appendix A.1.
Command: dnas search --preset=darts_cifar10_second_order --workdir=runs/cifar10_second_order
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.76 +- 0.09 % test error (table 1; the best of four searches).
Expected time: the paper reports 4 GPU-days for four searches on one GTX 1080 Ti, so about 24 hours for one.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.supernet.hypergradients.finite_difference import FiniteDifference

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  darts_cifar10_first_order.CONFIG,
  hypergradient="finite_difference",
  finite_difference=FiniteDifference(clipped=False, through_clip=False),  # as in the published code
)
