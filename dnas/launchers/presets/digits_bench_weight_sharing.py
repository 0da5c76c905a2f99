"""Random search and evolution by the weights of a supernet (RSWS) on the benchmark digits_bench.

Paper: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019; sizes and rates are ours.
Command: dnas compare --preset=digits_bench_weight_sharing --workdir=runs/methods
Expected result: cells better than 77 % of all on average, by random search and by evolution (ten seeds).
Expected time: about ten minutes on two CPU cores.
"""

import dataclasses

from dnas.launchers.presets import digits_bench_methods

LAUNCHER = "compare"
CONFIG = dataclasses.replace(
  digits_bench_methods.CONFIG,
  methods="random_search,regularized_evolution",
  evaluator="weight_sharing",
  seconds=60.0,
)
