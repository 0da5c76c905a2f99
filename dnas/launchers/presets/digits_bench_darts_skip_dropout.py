"""DARTS with dropout of skip connections on digits_bench.

Paper: Chen et al., "Progressive DARTS", ICCV 2019, section 3.3; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_skip_dropout --workdir=runs/darts_skip_dropout
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about half a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", remedies=Remedies(skip_dropout=0.4))
