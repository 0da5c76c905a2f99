"""SNAS on CIFAR-10, without the constraint on resources; temperatures as in the published code.

Paper: Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019, section 3.1.
Command: dnas search --preset=snas_cifar10 --workdir=runs/snas_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.85 +- 0.02 % test error with the moderate constraint (table 1).
Expected time: the paper reports 1.5 GPU-days.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import Snas

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="snas",
  hypergradient="single_level",
  seed=2,
  snas=Snas(start_temperature=1.0, end_temperature=0.03),
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=64, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=150,
    learning_rate=0.025,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_warmup_epochs=0,
    arch_learning_rate=1e-3,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
