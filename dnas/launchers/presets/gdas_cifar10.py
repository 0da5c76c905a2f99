"""GDAS search on CIFAR-10 with the temperatures of GDAS and the optimizers of DARTS.

Paper: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019, section 4.2.
Command: dnas search --preset=gdas_cifar10 --workdir=runs/gdas_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.93 % test error (table 1).
Expected time: more than 0.3 GPU-days, the time that the DARTS-PT paper quotes for GDAS. The published code computes only the drawn
  operation of an edge; this search computes all of them.
"""

import dataclasses

from dnas.launchers.presets import darts_cifar10_first_order
from dnas.search.gradient.methods.gdas import Gdas

_BASE = darts_cifar10_first_order.CONFIG

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  _BASE,
  method="gdas",
  gdas=Gdas(start_temperature=10.0, end_temperature=0.1),
  darts=dataclasses.replace(_BASE.darts, epochs=250),
)
