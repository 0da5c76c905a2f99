"""DARTS search on CIFAR-10 with the first-order hypergradient, as published.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.1 and appendix A.1.
Command: dnas search --preset=darts_cifar10_first_order --workdir=runs/cifar10_first_order
Expected result: a genotype that retrains (darts_cifar10_retrain) to 3.00 +- 0.14 % test error (table 1; the best of four searches).
Expected time: the paper reports 1.5 GPU-days for four searches on one GTX 1080 Ti, so about 9 hours for one.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  hypergradient="first_order",
  seed=2,
  data=DataConfig(dataset="cifar10", train_portion=0.5, batch_size=64, crop_padding=4, flip=True, cutout_length=0),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=3),
  darts=DartsConfig(
    epochs=50,
    learning_rate=0.025,
    final_learning_rate=0.001,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    arch_learning_rate=3e-4,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_init_scale=1e-3,
  ),
)
