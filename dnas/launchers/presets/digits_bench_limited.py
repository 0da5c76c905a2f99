"""DARTS with a limit on the expected multiply-adds on digits_bench.

Paper: Cai, Zhu and Han, "ProxylessNAS", ICLR 2019, section 3.3, and Platt and Barr, "Constrained Differential Optimization", NIPS 1987;
sizes and rates are ours.
Command: dnas search --preset=digits_bench_limited --workdir=runs/limited
Expected result: an expected cost within 5 % of 90,000 multiply-adds; docs/how_to/costs.md has that of the discrete cells.
Expected time: about a minute on two CPU cores.
"""

import dataclasses

from dnas.launchers.configs import CostConfig
from dnas.launchers.presets import digits_bench

LAUNCHER = "search"
_DARTS = digits_bench.by_adam("darts", cost=CostConfig(target=90e3))
CONFIG = dataclasses.replace(_DARTS, darts=dataclasses.replace(_DARTS.darts, epochs=35))
