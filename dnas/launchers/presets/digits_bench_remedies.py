"""Compares remedies against the collapse of DARTS on the benchmark digits_bench.

Paper: Zela et al., "Understanding and Robustifying DARTS", ICLR 2020, for the design; the table is ours (docs/results/digits_bench.md).
Command: dnas compare --preset=digits_bench_remedies --workdir=runs/remedies
Expected result: DARTS-PT finds cells better than 88 % of all, SDARTS-RS 82 %, DARTS 69 %, random search 89 %.
Expected time: 40 minutes on two CPU cores.
"""

import dataclasses

from dnas.launchers.presets import digits_bench_methods

LAUNCHER = "compare"
CONFIG = dataclasses.replace(
  digits_bench_methods.CONFIG,
  methods="random_search,darts,darts_second_order,darts_early_stopping,darts_skip_dropout,darts_uniform_noise,darts_adversarial,"
  "darts_projection",
  seeds=5,
)
