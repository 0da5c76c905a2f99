"""Tunes the hyperparameters of darts_cifar10_retrain, the published retraining of DARTS_V2 on CIFAR-10.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, appendix A.1, for the recipe; Li et al., "A System
  for Massively Parallel Hyperparameter Tuning", MLSys 2020, for the halving; the ranges are ours, around the recipe.
Command: dnas tune --preset=tune_darts_cifar10 --pool.workers=8 --pool.accelerators=1 --workdir=runs/tuned_cifar10
Expected result: not known. The first trial is the published recipe, which gives 2.76 +- 0.09 % test error.
Expected time: not measured; 64 trials of 600 epochs, most of them pruned after 15 or 45.
"""

from dnas.launchers.presets import darts_cifar10_retrain
from dnas.launchers.tune import ImageTuneConfig
from dnas.tune import study

LAUNCHER = "tune"
CONFIG = ImageTuneConfig(
  search_space="""
    train.learning_rate = log(0.005, 0.1);
    train.weight_decay = log(5e-5, 2e-3);
    train.drop_path = uniform(0.05, 0.4);
    train.auxiliary_weight = uniform(0, 0.8);
    train.schedule = choice(cosine, linear);
    data.cutout_length = int(8, 24, 4);
    data.batch_size = choice(64, 96, 128)
  """,
  train_portion=0.9,
  seeds=10,
  study=study.Config(trials=64, sampler="tpe", startup=16, pruner="successive_halving", min_epochs=15, eta=3),
  training=darts_cifar10_retrain.CONFIG,
)
