"""Tunes the hyperparameters of digits_demo_retrain, the small retraining of DARTS_V2 on 8x8 digits.

Paper: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, for the halving; sizes and ranges are ours.
Command: dnas tune --preset=tune_digits_demo --workdir=runs/tuned
Expected result: a validation accuracy not below that of the recipe, since the recipe is the first trial; a test error between 3 and 8 %.
Expected time: about 4 minutes on two CPU cores.
"""

from dnas.launchers.presets import digits_demo_retrain
from dnas.launchers.tune import ImageTuneConfig
from dnas.tune import executors, study

LAUNCHER = "tune"
CONFIG = ImageTuneConfig(
  search_space="""
    train.learning_rate = log(0.01, 0.5);
    train.weight_decay = log(1e-5, 1e-2);
    train.drop_path = uniform(0.01, 0.4);
    train.schedule = choice(cosine, linear, constant);
    train.momentum = uniform(0.5, 0.95)
  """,
  train_portion=0.7,
  seeds=3,
  baseline=True,
  study=study.Config(trials=16, sampler="tpe", startup=6, pruner="successive_halving", min_epochs=2, eta=2),
  pool=executors.Config(workers=2),
  training=digits_demo_retrain.CONFIG,
)
