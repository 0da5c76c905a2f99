"""Training of PyramidNet-272 with ShakeDrop on CIFAR-10.

Paper: Yamada et al., "ShakeDrop Regularization for Deep Residual Learning", 2018; the network is from Han, Kim and Kim, "Deep Pyramidal
Residual Networks", CVPR 2017.
Command: dnas train --preset=pyramidnet_shakedrop_cifar10 --workdir=runs/pyramidnet_shakedrop
Expected result: 97.69 % test accuracy (2.31 % error), 26,210,842 weights.
Expected time: not measured.

What the sources leave open or contradict:
- The published result comes from 1800 epochs with a cosine schedule and random erasing. Batch size, learning rate, weight decay and
  clipping of that run are not known. Those here are of the recipe that Google published with AutoAugment for the same network and number of
  epochs. That recipe erases squares of 16 pixels (cutout) in place of random erasing: --data.random_erasing=0 --data.cutout_length=16.
- The authors' own code describes another recipe: 300 epochs, batches of 128, learning rate 0.5, divided by 10 after 150 and 225 epochs. As
  flags: --train.epochs=300 --data.batch_size=128 --train.learning_rate=0.5 --train.schedule=constant
  --train.milestones=150,225. Its weight decay is that of PyramidNet,
  --train.weight_decay=1e-4, without clipping, --train.gradient_clip=0.
- Sources differ in which elements share a draw of ShakeDrop. The authors' code draws b for a batch, and alpha and beta for every element
  (--pyramidnet.shakedrop_noise=pixel). The paper finds elements best, and uses images to save memory, as here. Google's recipe draws b for
  an image too (--pyramidnet.shakedrop_gate=image).
- Widths are rounded to the nearest whole number. Some code rounds them down, which gives 26,049,562 weights.
"""

import dataclasses

from dnas.launchers.configs import DataConfig, ImageTrainConfig, RetrainConfig
from dnas.nets.models.pyramidnet import PyramidNet

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  ImageTrainConfig(),
  model="pyramidnet",
  seed=0,
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=64, crop_padding=4, flip=True, random_erasing=0.5, cutout_length=0),
  pyramidnet=PyramidNet(depth=272, alpha=200, bottleneck=True, shakedrop=0.5, shakedrop_gate="batch", shakedrop_noise="image"),
  train=RetrainConfig(
    epochs=1800,
    learning_rate=0.05,
    final_learning_rate=0.0,
    schedule="cosine",
    every_step=True,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-5,
    gradient_clip=5.0,
  ),
)
