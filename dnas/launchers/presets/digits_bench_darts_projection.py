"""DARTS with decisions by perturbation at the end (DARTS-PT) on digits_bench.

Paper: Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021; sizes and rates are ours.
Command: dnas search --preset=digits_bench_darts_projection --workdir=runs/darts_projection
Expected result: a cell that docs/results/digits_bench.md ranks among all 729.
Expected time: about a minute on two CPU cores.
"""

from dnas.launchers.presets import digits_bench
from dnas.search.gradient.remedies import Remedies

LAUNCHER = "search"
CONFIG = digits_bench.by_adam("darts", remedies=Remedies(projection=True))
