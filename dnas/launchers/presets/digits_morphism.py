"""Compares strategies on chains of convolutions that inherit their weights, on scikit-learn's 8x8 digits.

Paper: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017; sizes are ours.
Command: dnas compare --preset=digits_morphism --workdir=runs/digits_morphism
Expected result: not measured; two searches of each method decide nothing.
Expected time: about 20 minutes on two CPU cores, most of it compilation of one network after another.
"""

from dnas.core import config as config_lib
from dnas.launchers.compare import CompareConfig

LAUNCHER = "compare"
CONFIG = config_lib.replace(
  CompareConfig(
    methods="random_search,regularized_evolution,hill_climbing",
    space="conv_chain",
    evaluator="morphism",
    training="conv_chain_digits",
    train_portion=0.7,
    seconds=150.0,
    seeds=2,
  ),
  {
    "morphism.epochs": 5,
    "morphism.first_epochs": 10,
    "hill_climbing.neighbours": 4,
    "hill_climbing.morphisms": 2,
    "regularized_evolution.inherit": True,
    "regularized_evolution.population": 4,
  },
)
