"""PC-DARTS search on an eighth of the training images of ImageNet, as published.

A tenth of the images trains weights, a fortieth the architecture.
Files and folders are those of darts_imagenet_retrain. The examples are drawn within every class. Not known from the paper: which examples
were drawn, and the augmentation of a search, which here is that of a retraining, as in the released code.

Paper: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020, section 4.3.
Command: dnas search --preset=darts_imagenet_search --data.data_dir=imagenet --workdir=runs/imagenet_search
Expected result: a genotype that retrains to 24.2 % test error and 7.3 % among the first five classes, with 5.3 million weights (table 2).
Expected time: 11.5 hours on eight Tesla V100, 3.8 GPU-days; with fewer GPUs lower data.batch_size.
"""

import dataclasses

from dnas.launchers.configs import DartsConfig, ImageSearchConfig, SupernetConfig
from dnas.launchers.presets import darts_imagenet_retrain
from dnas.search.gradient.methods.pc_darts import PCDarts

EXAMPLES = 160_146
"""12.5 % of the 1,281,167 training images."""

LAUNCHER = "search"
CONFIG = ImageSearchConfig(
  method="pc_darts",
  pc_darts=PCDarts(partial_channels=4),  # pyright: ignore[reportCallIssue]  # see `config.mounts`
  data=dataclasses.replace(darts_imagenet_retrain.DATA, examples=EXAMPLES, train_portion=0.8, split="stratified", batch_size=1024),
  supernet=SupernetConfig(channels=16, cells=8, stem_multiplier=1, stem="imagenet"),
  darts=DartsConfig(
    epochs=50,
    learning_rate=0.5,
    final_learning_rate=0.0,
    momentum=0.9,
    weight_decay=3e-5,
    arch_learning_rate=6e-3,
    arch_beta1=0.5,
    arch_beta2=0.999,
    arch_weight_decay=1e-3,
    arch_warmup_epochs=35,
  ),
)
