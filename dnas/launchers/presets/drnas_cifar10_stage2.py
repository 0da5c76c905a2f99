"""DrNAS on CIFAR-10, the second of two stages: fewer operations, on half of the channels.

Paper: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, sections 2.3 and 4.1; see drnas_cifar10.
Command: dnas search --preset=drnas_cifar10_stage2 --start_from=runs/drnas_cifar10 --workdir=runs/drnas_cifar10_stage2
Expected result: a genotype to retrain (darts_cifar10_retrain); the paper has 2.46 +- 0.03 % test error (table 1).
Expected time: the paper reports 0.6 GPU-days for two stages on a larger supernet.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import DrNas

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="drnas",
  hypergradient="first_order",
  seed=2,
  start_from="runs/drnas_cifar10",
  keep_operations=4,
  without="none",
  drnas=DrNas(partial_channels=2, softmax=True),
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=64, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=25,
    learning_rate=0.1,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_warmup_epochs=0,
    arch_learning_rate=6e-4,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
