"""Compares differentiable methods, random search and evolution on the benchmark digits_bench.

Paper: Zela, Siems and Hutter, "NAS-Bench-1Shot1", ICLR 2020, for the design; the table is ours (docs/results/digits_bench.md).
Command: dnas compare --preset=digits_bench_methods --workdir=runs/methods
Expected result: no differentiable method comes up to random search (docs/results/digits_bench.md); the spread between seeds is wide.
Expected time: about 25 minutes on two CPU cores.
"""

import dataclasses

from dnas.launchers.presets import digits_bench_comparison

LAUNCHER = "compare"
CONFIG = dataclasses.replace(
  digits_bench_comparison.CONFIG,
  methods="random_search,regularized_evolution,darts,pc_darts,gdas,drnas,gaea,snas,fair_darts",
  search="digits_bench",
  seeds=10,
)
