"""Training of ResNet-20 on CIFAR-10; --resnet.depth=110 trains the largest network of the recipe.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
Command: dnas train --preset=resnet_cifar10 --workdir=runs/resnet20
Expected result: 91.25 % test accuracy with 20 layers (269,722 weights); 93.57 % with 110 layers (1,727,962 weights), the best of five runs,
whose mean is 93.39 %.
Expected time: not measured.

What differs from the paper:
- The paper counts iterations: the learning rate falls after 32,000 and 48,000, and training ends after 64,000. Here it falls after 82 and
  123 epochs of 391 steps, and training ends after 164.
- The paper subtracts the mean of every pixel. Here the mean of every channel is subtracted, and the result is divided by its deviation.
- With 110 layers the paper trains with a learning rate of 0.01 until the training error is below 80 %, about 400 iterations.
  --train.warmup_epochs=1 --train.warmup_learning_rate=0.01 does so for the 391 steps of the first epoch.
"""

import dataclasses

from dnas.launchers.configs import DataConfig, ImageTrainConfig, RetrainConfig
from dnas.nets.models.resnet import ResNet

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  ImageTrainConfig(),
  model="resnet",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=128, crop_padding=4, flip=True, cutout_length=0),
  resnet=ResNet(depth=20, channels=16),
  train=RetrainConfig(
    epochs=164,
    learning_rate=0.1,
    schedule="constant",
    milestones=(82, 123),
    milestone_factor=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=1e-4,
    gradient_clip=0.0,
  ),
)
