"""GAEA PC-DARTS on CIFAR-10, as published.

Paper: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021, section 4.2.
Command: dnas search --preset=gaea_pc_darts_cifar10 --workdir=runs/gaea_pc_darts_cifar10
Expected result: a genotype to retrain (darts_cifar10_retrain).
Expected time: the paper reports 0.1 GPU-days.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import Gaea

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="gaea",
  hypergradient="first_order",
  seed=2,
  gaea=Gaea(partial_channels=4, edge_weights=True, uniform_start=True, smallest=1e-5),
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
    arch_learning_rate=0.1,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
