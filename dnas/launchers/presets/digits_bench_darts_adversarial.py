"""DARTS with adversarial perturbation (SDARTS-ADV) on digits_bench.

Paper: Chen and Hsieh, "Stabilizing DARTS via Perturbation-based Regularization", ICML 2020; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_adversarial --workdir=runs/darts_adversarial
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about two minutes on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", remedies=Remedies(perturbation="adversarial"))
