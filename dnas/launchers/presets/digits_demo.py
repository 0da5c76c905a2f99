"""Small DARTS search, first order, on scikit-learn's 8x8 digits: two minutes on two CPU cores.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; sizes and rates are ours, for two CPU cores.
Command: dnas search --preset=digits_demo --workdir=runs/first
Expected result: validation accuracy of the supernet above 90 %, and a cell to retrain with digits_demo_retrain.
Expected time: about 2 minutes on two CPU cores, most of it compilation.
"""

from dnas.launchers.configs import DartsConfig, DataConfig, ImageSearchConfig, SupernetConfig

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  space="darts_conv",
  hypergradient="first_order",
  seed=2,
  data=DataConfig(dataset="digits", train_portion=0.5, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False),
  supernet=SupernetConfig(channels=4, cells=3, stem_multiplier=3),
  darts=DartsConfig(epochs=8, learning_rate=0.1, arch_learning_rate=1e-2),
)
