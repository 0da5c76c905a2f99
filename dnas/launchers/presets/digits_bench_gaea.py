"""GAEA without selection on digits_bench.

Paper: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021; sizes and rates are ours.
Command: dnas search --preset=digits_bench_gaea --workdir=runs/gaea
Expected result: cells better than 67 and 82 % of all 729 on average, over ten seeds each (docs/results/digits_bench.md).
Expected time: about half a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench

LAUNCHER = "search"
CONFIG = digits_bench.GAEA
