"""Compares four black-box strategies on a synthetic table: a demonstration that measures nothing real.

Paper: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020; the table is ours.
Command: dnas compare --preset=synthetic_comparison --workdir=runs/compare
Expected result: evolution and local search find better architectures than random search.
Expected time: under a minute on two CPU cores.
"""

from dnas.launchers.compare import CompareConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(methods="random_search,regularized_evolution,local_search,reinforce", seconds=10000.0, seeds=20)
