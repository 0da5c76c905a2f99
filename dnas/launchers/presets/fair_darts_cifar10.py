"""FairDARTS on CIFAR-10, with as many edges a node as DARTS keeps.

Paper: Chu et al., "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search", ECCV 2020, section 4.1. The rates of
the architecture and the batch size are those of the published command.
Command: dnas search --preset=fair_darts_cifar10 --workdir=runs/fair_darts_cifar10
Expected result: a genotype to retrain (darts_cifar10_retrain); the paper has 2.54 % test error, without edges below a threshold.
Expected time: not measured; the search of DARTS, first order.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import FairDarts

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="fair_darts",
  hypergradient="first_order",
  seed=2,
  fair_darts=FairDarts(zero_one=10.0),
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=128, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=50,
    learning_rate=0.025,
    final_learning_rate=0.001,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_warmup_epochs=0,
    arch_learning_rate=0.005,
    arch_beta1=0.9,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
