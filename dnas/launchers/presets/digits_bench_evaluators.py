"""What every evaluator is worth on the benchmark digits_bench.

Paper: Elsken, Metzen and Hutter, "Neural Architecture Search: A Survey", JMLR 2019, for the question; sizes and rates are ours.
Command: dnas evaluators --preset=digits_bench_evaluators --workdir=runs/evaluators
Expected result: Kendall's tau of 0.7 for a full training, 0.6 for weight sharing, 0.3 for one epoch, near 0 for most proxies.
Expected time: about 40 minutes on one CPU core without other work.
"""

from dnas.launchers._trained_once import Hypernetwork
from dnas.launchers.evaluators import EvaluatorsConfig

LAUNCHER = "evaluators"
CONFIG = EvaluatorsConfig(
  evaluators="tabular,weight_sharing,hypernetwork,supernet,parameters,synflow,jacob_cov,naswot,random",
  architectures=60,
  table="digits_bench",
  dataset="digits",
  epochs=12,
  budgets=(1, 2, 3, 6, 9),
  training="digits_bench_retrain",
  search="digits_bench_darts",
  train_portion=0.6,
  hypernetwork=Hypernetwork(epochs=150),  # pyright: ignore[reportCallIssue]  # see `config.mounts`
)
