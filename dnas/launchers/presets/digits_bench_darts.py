"""DARTS on the space of the benchmark digits_bench, with rates for Adam.

Paper: Liu, Simonyan and Yang, "DARTS", ICLR 2019; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts --workdir=runs/darts
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about half a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts")
