"""Hill climbing by network morphisms on CIFAR-10 (NASH), at the published size.

Paper: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017: a small network
is trained for 20 epochs; in each step eight neighbours, each after five morphisms, are trained for 17 epochs with the learning rate on a
cosine from 0.05 to zero, and the best goes on.
Command: dnas compare --preset=nash_cifar10 --workdir=runs/nash
Expected result: not measured here. The paper reports an error below 6 % after half a day on one GPU.
Expected time: half a day on the accelerator, which is the budget of the search, and then the training of what it found.
"""

from dnas.launchers.compare import CompareConfig

LAUNCHER = "compare"
CONFIG = CompareConfig(
  methods="hill_climbing",
  space="conv_chain",
  evaluator="morphism",
  training="conv_chain_cifar10",
  train_portion=0.9,
  seconds=43200.0,
  seeds=1,
)
