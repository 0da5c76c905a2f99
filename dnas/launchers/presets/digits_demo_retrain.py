"""Small retraining of a convolutional cell on scikit-learn's 8x8 digits: 20 seconds on two CPU cores.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; sizes and rates are ours, for two CPU cores.
Command: dnas train --preset=digits_demo_retrain --genotype=runs/first --workdir=runs/first_retrained
Expected result: around 3 % test error on 297 digits, by writers who wrote no training digit. A random cell is as likely to win.
Expected time: about 20 seconds on two CPU cores, most of it compilation.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  genotype="DARTS_V2",
  seed=0,
  data=DataConfig(dataset="digits", train_portion=1.0, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False),
  network=NetworkConfig(channels=8, cells=3, stem_multiplier=3, auxiliary=False),
  train=RetrainConfig(epochs=10, learning_rate=0.1, drop_path=0.1),
)
