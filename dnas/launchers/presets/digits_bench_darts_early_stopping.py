"""DARTS with early stopping by the dominant eigenvalue on digits_bench.

Paper: Zela et al., "Understanding and Robustifying DARTS", ICLR 2020, section 5; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_early_stopping --workdir=runs/darts_early_stopping
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: at most a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", diagnose_every=5, remedies=Remedies(stop_ratio=0.75))
