"""A contest on the digits, at equal budget: a human-designed network tuned, against a cell searched and tuned.

Paper: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, for the question; sizes are ours.
Command: dnas compare --preset=digits_contest --workdir=runs/contest
Expected result: see docs/results/contest.md.
Expected time: about 15 minutes on two CPU cores.
"""

from dnas.launchers.compare import CompareConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(
  contestants="tune_digits_resnet,digits_bench+tune_digits_cell",
  budget=5e11,
  budget_in="multiply_adds",
  seeds=5,
)
