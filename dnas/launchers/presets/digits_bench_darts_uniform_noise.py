"""DARTS with uniform noise on the architecture parameters (SDARTS-RS) on digits_bench.

Paper: Chen and Hsieh, "Stabilizing DARTS via Perturbation-based Regularization", ICML 2020; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_uniform_noise --workdir=runs/darts_uniform_noise
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about half a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", remedies=Remedies(perturbation="uniform"))
