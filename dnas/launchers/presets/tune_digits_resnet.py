"""Tunes a human-designed network, ResNet, on 8x8 digits, by asynchronous successive halving.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, for the network; Li et al., "A System for Massively Parallel
Hyperparameter Tuning" (ASHA), MLSys 2020, for the tuning; sizes and ranges are ours.
Command: dnas tune --preset=tune_digits_resnet --workdir=runs/tuned_resnet
Expected result: a test error between 3 and 6 %.
Expected time: about 4 minutes on two CPU cores.
"""

from dnas.core import config as config_lib
from dnas.launchers.configs import DataConfig, ImageTrainConfig, RetrainConfig
from dnas.launchers.tune import ImageTuneConfig
from dnas.tune import executors, study

LAUNCHER = "tune"
DATA = DataConfig(dataset="digits", train_portion=1.0, split="stratified", batch_size=50, crop_padding=1, flip=False)
TRAIN = RetrainConfig(epochs=24, learning_rate=0.1, weight_decay=5e-4, nesterov=True, auxiliary_weight=0.0, drop_path=0.0)
RATES = """
  train.learning_rate = log(0.01, 1.0);
  train.weight_decay = log(1e-5, 1e-2);
  train.momentum = uniform(0.5, 0.95);
"""
"""What is tuned of any network."""

ASHA = study.Config(trials=32, sampler="random", pruner="successive_halving", min_epochs=3, eta=2)

CONFIG = ImageTuneConfig(
  search_space=f"{RATES} resnet.depth = choice(8, 14, 20); resnet.channels = choice(4, 8, 16)",
  train_portion=0.7,
  seeds=3,
  study=ASHA,
  pool=executors.Config(workers=2),
  training=config_lib.replace(ImageTrainConfig(model="resnet", data=DATA, train=TRAIN), {"resnet.depth": 8, "resnet.channels": 8}),
)
