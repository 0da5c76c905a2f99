"""Compares seven black-box strategies on the benchmark in the package: real trainings, looked up.

Paper: Ying et al., "NAS-Bench-101", ICML 2019, for the design; the table is ours (docs/results/digits_bench.md).
Command: dnas compare --preset=digits_bench_comparison --workdir=runs/compare
Expected result: all strategies come close to the best architecture; those with rungs look at more architectures for the same seconds.
Expected time: about a minute on two CPU cores.
"""

from dnas.launchers.compare import CompareConfig
from dnas.search.blackbox.asha import Config as AshaConfig
from dnas.search.blackbox.hyperband import Config as HyperbandConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(
  methods="random_search,regularized_evolution,local_search,reinforce,tpe,asha,hyperband",
  table="digits_bench",
  dataset="digits",
  epochs=12,
  report_epochs=12,
  seconds=20.0,
  seeds=20,
  asha=AshaConfig(min_budget=3, max_budget=12, eta=2),  # pyright: ignore[reportCallIssue]  # see `config.mounts`
  hyperband=HyperbandConfig(min_budget=3, max_budget=12, eta=2),  # pyright: ignore[reportCallIssue]
)
