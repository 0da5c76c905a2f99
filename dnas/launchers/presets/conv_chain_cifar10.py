"""Training on CIFAR-10 of what hill climbing by morphisms found (NASH), for 100 epochs.

Paper: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017.
Command: dnas train --preset=conv_chain_cifar10 --genotype=runs/nash/conv_chain/morphism/hill_climbing/seed_0000 --workdir=runs/nash_final
Expected result: not measured here. The paper reports about 5 % error after a search of one day on one GPU.
Expected time: not measured.

What differs from the paper:
- The paper continues with the weights of the search. Here the network begins with new weights.
- The width of the first network and the weight decay were not found in the paper; those here are ours.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  space="conv_chain",
  genotype="|conv_3x3_x1|max_pool_2x2|conv_3x3_x1|max_pool_2x2|conv_3x3_x1|",
  data=DataConfig(dataset="cifar10", train_portion=1.0, batch_size=64, crop_padding=4, flip=True),
  network=NetworkConfig(channels=64, auxiliary=False),
  train=RetrainConfig(epochs=100, learning_rate=0.05, weight_decay=5e-4),
)
