"""GDAS on CIFAR-10: its temperatures, with the optimizers of DARTS.

Paper: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019, section 4.2.
Command: dnas search --preset=gdas_cifar10 --workdir=runs/gdas_cifar10
Expected result: a genotype that retrains (darts_cifar10_retrain) to 2.93 % test error (table 1).
Expected time: 0.3 GPU-days as the DARTS-PT paper quotes it; here all operations are computed, and not the drawn one alone.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig
from dnas.search.gradient.methods import Gdas

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  method="gdas",
  hypergradient="first_order",
  seed=2,
  gdas=Gdas(start_temperature=10.0, end_temperature=0.1),
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=64, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=250,
    learning_rate=0.025,
    final_learning_rate=0.001,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_warmup_epochs=0,
    arch_learning_rate=3e-4,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
