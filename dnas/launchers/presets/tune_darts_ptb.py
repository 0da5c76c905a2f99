"""Tunes the hyperparameters of darts_ptb_retrain, the published retraining of DARTS_V2 on Penn Treebank.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, appendix A.2.2, for the recipe; Li et al., "A System
  for Massively Parallel Hyperparameter Tuning", MLSys 2020, for the halving; the ranges are ours, around the recipe.
Command: dnas tune --preset=tune_darts_ptb --pool.workers=8 --pool.accelerators=1 --workdir=runs/tuned_ptb
Expected result: not known. The first trial is the published recipe, which gives 55.7 test and 58.1 validation perplexity.
Expected time: not measured; 64 trials of 3,600 epochs, most of them pruned after 44 or 132.
"""

from dnas.launchers.presets import darts_ptb_retrain
from dnas.launchers.tune import LanguageTuneConfig
from dnas.tune import study

LAUNCHER = "tune"
CONFIG = LanguageTuneConfig(
  search_space="""
    train.learning_rate = log(5, 40);
    train.weight_decay = log(1e-7, 1e-5);
    train.gradient_clip = log(0.1, 1);
    network.dropout_words = uniform(0.05, 0.2);
    network.dropout_embedding = uniform(0.1, 0.4);
    network.dropout_inputs = uniform(0.5, 0.85);
    network.dropout_hidden = uniform(0.1, 0.4);
    network.dropout_output = uniform(0.5, 0.85);
    network.temporal_penalty = log(1e-4, 1e-2)
  """,
  seeds=3,
  study=study.Config(
    trials=64, sampler="tpe", startup=16, pruner="successive_halving", min_epochs=44, eta=3, objectives="perplexity"
  ),
  training=darts_ptb_retrain.CONFIG,
)
