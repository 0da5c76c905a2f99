"""Training of NASNet-A (N = 6, F = 32) with cutout on CIFAR-10, as published.

Paper: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018, table 1 and appendix A.
Command: dnas train --preset=nasnet_a_cifar10 --workdir=runs/nasnet_a
Expected result: 2.65 % test error with 3.3 million weights, the mean of five trainings; 3.41 % without cutout. Here 3,346,538 weights.
Expected time: not measured. 600 epochs of 1,563 steps.

The released code has no recipe with cutout, and gives no seeds. The side of the square that cutout erases, 16, is that of the paper on
cutout. As in the released code, every image is standardized by its own mean and deviation.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  space="nasnet_a",
  genotype="NASNet_A",
  seed=0,
  data=DataConfig(
    dataset="cifar10",
    train_portion=1.0,
    batch_size=32,
    crop_padding=4,
    flip=True,
    cutout_length=16,
    standardize_images=True,
  ),
  network=NetworkConfig(channels=32, cells=20, stem_multiplier=3, auxiliary=True, drop_path_by_depth=True),
  train=RetrainConfig(
    epochs=600,
    every_step=True,
    decay_vectors=False,
    learning_rate=0.025,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=5e-4,
    gradient_clip=5.0,
    auxiliary_weight=0.4,
    drop_path=0.4,
  ),
)
