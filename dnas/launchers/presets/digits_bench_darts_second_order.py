"""Second-order DARTS on digits_bench.

Paper: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 8; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_second_order --workdir=runs/darts_second_order
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about two minutes on two CPU cores.
"""

from dnas.launchers.presets import digits_bench

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", hypergradient="finite_difference")
