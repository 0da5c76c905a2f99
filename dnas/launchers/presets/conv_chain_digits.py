"""Training of a chain of convolutions on scikit-learn's 8x8 digits.

Paper: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017; sizes are ours.
Command: dnas train --preset=conv_chain_digits --genotype=random:0 --workdir=runs/chain
Expected result: not measured.
Expected time: about half a minute on two CPU cores, most of it compilation.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  space="conv_chain",
  genotype="|conv_3x3_x1|max_pool_2x2|conv_3x3_x1|max_pool_2x2|conv_3x3_x1|",
  data=DataConfig(dataset="digits", train_portion=1.0, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False),
  network=NetworkConfig(channels=8, auxiliary=False),
  train=RetrainConfig(epochs=20, learning_rate=0.05),
)
