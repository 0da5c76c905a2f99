"""Training of AmoebaNet-B (N = 6, F = 128) with cutout on CIFAR-10.

Paper: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, table 1.
Command: dnas train --preset=amoebanet_b_cifar10 --workdir=runs/amoebanet_b
Expected result: 2.13 +- 0.04 % test error with 34.9 million weights. Here 34,874,506 weights. With --network.channels=36 it is the network
  of 2,839,186 weights, 2.55 +- 0.05 %.
Expected time: not measured.

The recipe on CIFAR-10 was never released. These values are those with which the paper evaluates AmoebaNet-A. That B has the same ones is an
assumption, and so is the side of the square that cutout erases. The paper names no clipping of gradients, so there is none here.
The released code, for ImageNet, ignores the dilation of the convolution in the reduction cell, and by default its drop-path grows with the
steps alone. Here the convolution is dilated, and drop-path grows with the depth too, as in NASNet. A third-party training of B reached only
5.32 %.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  space="amoebanet",
  genotype="AmoebaNet_B",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=128, crop_padding=4, flip=True, cutout_length=16),
  network=NetworkConfig(channels=128, cells=20, stem_multiplier=3, auxiliary=True, drop_path_by_depth=True),
  train=RetrainConfig(
    epochs=600,
    every_step=True,
    decay_vectors=False,
    learning_rate=0.024,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=5e-4,
    gradient_clip=0.0,
    auxiliary_weight=0.5,
    drop_path=0.3,
  ),
)
