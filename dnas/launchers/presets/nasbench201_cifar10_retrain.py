"""Training of the best NAS-Bench-201 architecture on CIFAR-10, as published.

Paper: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020, table 1.
Command: dnas train --preset=nasbench201_cifar10_retrain --workdir=runs/nasbench201_retrain
Expected result: 94.37 % test accuracy, the mean of the trainings in the benchmark. No other architecture of the table has more.
Expected time: not measured. The table lists about 4 hours on a GTX 1080 Ti for 200 epochs of a network of this size.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  space="nasbench201",
  genotype="|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=256, crop_padding=4, flip=True, cutout_length=0),
  network=NetworkConfig(channels=16, cells=15, stem_multiplier=1, auxiliary=False),
  train=RetrainConfig(
    epochs=200,
    learning_rate=0.1,
    final_learning_rate=0.0,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    gradient_clip=0.0,
    auxiliary_weight=0.0,
    drop_path=0.0,
  ),
)
