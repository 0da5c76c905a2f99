"""Retraining of DARTS_V2, the published cell of second-order DARTS, on CIFAR-10, as published.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.2 and appendix A.1.
Command: dnas train --preset=darts_cifar10_retrain --workdir=runs/cifar10_retrain
Expected result: 2.76 +- 0.09 % test error with 3.3 million weights (table 1; ten trainings).
Expected time: the paper reports 1.5 GPU-days on one GTX 1080 Ti.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  genotype="DARTS_V2",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=96, crop_padding=4, flip=True, cutout_length=16),
  network=NetworkConfig(channels=36, cells=20, stem_multiplier=3, auxiliary=True),
  train=RetrainConfig(
    epochs=600,
    learning_rate=0.025,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=3e-4,
    gradient_clip=5.0,
    auxiliary_weight=0.4,
    drop_path=0.2,
  ),
)
