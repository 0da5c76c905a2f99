"""GAEA with perturbation-based selection on digits_bench: the search of the demonstration.

Paper: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search" (GAEA), ICLR 2021, and Wang et al., "Rethinking
Architecture Selection in Differentiable NAS" (DARTS-PT), ICLR 2021; sizes and rates are ours.
Command: dnas search --preset=digits_bench --workdir=runs/first
Expected result: a cell better than 89 % of all 729 on average (ten seeds, standard deviation 12). The selection decides every edge.
Expected time: about a minute on two CPU cores.
"""

import dataclasses
from typing import Any

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
GAEA = ImageSearchConfig(
  space="nasbench201",
  without="nor_conv_1x1,avg_pool_3x3",
  method="gaea",
  seed=2,
  data=DataConfig(dataset="digits", train_portion=0.6, split="stratified", batch_size=50, crop_padding=1),
  supernet=SupernetConfig(channels=4, cells=6, stem_multiplier=1),
  darts=DartsConfig(epochs=70, learning_rate=0.1, arch_learning_rate=1.0, arch_warmup_epochs=1),
)
"""The search without selection: the base of all methods on this benchmark."""

CONFIG = dataclasses.replace(
  GAEA,
  darts=dataclasses.replace(GAEA.darts, epochs=120, arch_warmup_epochs=90, arch_learning_rate=0.3),
  remedies=Remedies(projection=True),
)


def by_adam(method: str, diagnose_every: int = 0, **changes: Any) -> ImageSearchConfig:
  """Returns the search without selection by a method whose architecture optimizer is Adam; `changes` are other fields."""
  darts = dataclasses.replace(GAEA.darts, arch_learning_rate=0.03, diagnose_every=diagnose_every)
  return dataclasses.replace(GAEA, method=method, darts=darts, **changes)
