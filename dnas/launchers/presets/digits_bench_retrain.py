"""A network of the benchmark digits_bench, trained on all training digits and tested.

Paper: Dong and Yang, "NAS-Bench-201", ICLR 2020, for the recipe; sizes and epochs are those of digits_bench, for two CPU cores.
Command: dnas train --preset=digits_bench_retrain --genotype=runs/first --workdir=runs/first_retrained
Expected result: a test error of 5 to 15 % for a good cell. Cells without a path around their convolutions stay above 30 %.
Expected time: about half a minute on two CPU cores, most of it compilation.
"""

import dataclasses

from dnas.launchers.configs import NASBENCH201_TRAIN, DataConfig, NetworkConfig

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  NASBENCH201_TRAIN,
  data=DataConfig(dataset="digits", train_portion=1.0, batch_size=30, crop_padding=1),
  network=NetworkConfig(channels=2, cells=12, stem_multiplier=1, auxiliary=False),
  train=dataclasses.replace(NASBENCH201_TRAIN.train, epochs=12, gradient_clip=5.0),
)
