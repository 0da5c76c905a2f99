"""Compares random search, evolution, REINFORCE and TPE on the table of NAS-Bench-201, as published.

Paper: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020, section 5.
Command: dnas compare --preset=nasbench201_tabular --table=nb201.npz --workdir=runs/nasbench201
Expected result: test accuracy on CIFAR-10 of 93.70 +- 0.36 % for random search, and more for evolution.
Expected time: about 3 minutes on two CPU cores.
"""

from dnas.launchers.compare import CompareConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(
  methods="random_search,regularized_evolution,reinforce,tpe", dataset="cifar10", epochs=12, report_epochs=200, seconds=20000.0, seeds=500
)
