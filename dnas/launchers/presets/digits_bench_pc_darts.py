"""PC-DARTS on the space of the benchmark digits_bench, with rates for Adam.

Paper: Xu et al., "PC-DARTS", ICLR 2020; sizes and rates are ours.
Command: dnas search --preset=digits_bench_pc_darts --workdir=runs/pc_darts
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about half a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.methods.pc_darts import PCDarts

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("pc_darts", pc_darts=PCDarts(partial_channels=2))
