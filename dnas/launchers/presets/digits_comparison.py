"""Compares random search, ASHA and DARTS on scikit-learn's 8x8 digits by training architectures.

Paper: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, for the design; sizes are ours.
Command: dnas compare --preset=digits_comparison --workdir=runs/digits_compare
Expected result: test accuracies between 94 and 98 %. The spreads of the methods overlap: two searches of each method decide nothing.
Expected time: about 15 minutes on two CPU cores, most of it compilation of one network after another.
"""

from dnas.launchers.compare import CompareConfig
from dnas.search.blackbox.asha import Config as AshaConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(
  methods="random_search,asha,darts",
  space="darts_conv",
  evaluator="training",
  training="digits_demo_retrain",
  search="digits_demo",
  train_portion=0.7,
  seconds=150.0,
  seeds=2,
  asha=AshaConfig(min_budget=2, max_budget=10, eta=2),  # pyright: ignore[reportCallIssue]  # see `config.mounts`
)
