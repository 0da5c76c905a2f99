"""Tunes the network of a cell of the space of NAS-Bench-201 on 8x8 digits, by asynchronous successive halving.

Paper: Dong and Yang, "NAS-Bench-201", ICLR 2020, for the network; Li et al., "A System for Massively Parallel Hyperparameter Tuning"
(ASHA), MLSys 2020, for the tuning; sizes and ranges are ours. Everything but the network is that of tune_digits_resnet.
--training.genotype=runs/first gives it the cell that a search found; without the flag it is the best one of that benchmark.
Command: dnas tune --preset=tune_digits_cell --workdir=runs/tuned_cell
Expected result: a test error between 3 and 6 % for a good cell.
Expected time: about 6 minutes on two CPU cores.
"""

import dataclasses

from dnas.launchers.configs import NASBENCH201_TRAIN, NetworkConfig
from dnas.launchers.presets import tune_digits_resnet
from dnas.launchers.tune import ImageTuneConfig
from dnas.tune import executors

LAUNCHER = "tune"
CONFIG = ImageTuneConfig(
  search_space=f"{tune_digits_resnet.RATES} network.channels = choice(4, 8); network.cells = choice(3, 6, 9)",
  train_portion=0.7,
  seeds=3,
  study=tune_digits_resnet.ASHA,
  pool=executors.Config(workers=2),
  training=dataclasses.replace(
    NASBENCH201_TRAIN,
    data=tune_digits_resnet.DATA,
    network=NetworkConfig(channels=4, cells=6, stem_multiplier=1, auxiliary=False),
    train=tune_digits_resnet.TRAIN,
  ),
)
