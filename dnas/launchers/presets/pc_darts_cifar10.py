"""PC-DARTS on CIFAR-10, as published.

Paper: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020, section 4.2.
Command: dnas search --preset=pc_darts_cifar10 --workdir=runs/pc_darts_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.57 +- 0.07 % test error (table 1).
Expected time: the paper reports 0.1 GPU-days.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import PCDarts

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="pc_darts",
  hypergradient="first_order",
  seed=2,
  pc_darts=PCDarts(partial_channels=4),
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=256, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=50,
    learning_rate=0.1,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_warmup_epochs=15,
    arch_learning_rate=6e-4,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
