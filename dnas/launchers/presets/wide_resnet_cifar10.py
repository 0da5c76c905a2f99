"""Training of WideResNet-28-10 on CIFAR-10.

Paper: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, section 3.
Command: dnas train --preset=wide_resnet_cifar10 --workdir=runs/wide_resnet
Expected result: 96.00 % test accuracy, the median of five runs; 96.11 % with --wide_resnet.dropout=0.3. 36,479,194 weights.
Expected time: not measured.

What the sources leave open: the paper does not give the initial weights. Kernels are drawn here as in its published code, from a normal
distribution with variance 2 / fan-out. The classifier has PyTorch's initialization.
"""

import dataclasses

from dnas.launchers.configs import DataConfig, ImageTrainConfig, RetrainConfig
from dnas.nets.models.wide_resnet import WideResNet

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  ImageTrainConfig(),
  model="wide_resnet",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=128, crop_padding=4, crop_reflect=True, flip=True, cutout_length=0),
  wide_resnet=WideResNet(depth=28, widen_factor=10, dropout=0.0),
  train=RetrainConfig(
    epochs=200,
    learning_rate=0.1,
    schedule="constant",
    milestones=(60, 120, 160),
    milestone_factor=0.2,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    gradient_clip=0.0,
  ),
)
