"""Training of the NAS cell, which reinforcement learning found, with 54 million weights on Penn Treebank.

Paper: Zoph and Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 4.2.
Command: dnas train --preset=nas_cell_ptb --workdir=runs/nas_cell
Expected result: 62.4 test perplexity with 54 million weights; 64.0 with 25 million (--nas_cell.units=740, 24,923,200 weights). Here
  53,987,328 weights.
Expected time: not measured.

The recipe was never released. The paper tuned learning rate, initial weights, dropout and the epoch of decay on a grid, and gives none of
the values. The numbers of units follow from the numbers of weights. Everything else here is an assumption. Learning rate, penalty, clipping
and windows are those of the recurrent networks of DARTS, in batches of 20. The rates of dropout are those of the variational recurrent
highway network (Zilly et al., 2017).
"""

import dataclasses

from dnas.launchers.configs import LanguageRetrainConfig, LanguageTrainConfig, TextConfig
from dnas.nets.models.nas_cell import NasCell

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  LanguageTrainConfig(),
  model="nas_cell",
  seed=0,
  data=TextConfig(
    dataset="ptb",
    level="word",
    batch_size=20,
    eval_batch_size=10,
    sequence_length=35,
    short_probability=0.05,
    length_deviation=5.0,
    buckets=5,
  ),
  nas_cell=NasCell(units=1152, layers=2),
  train=LanguageRetrainConfig(epochs=500, learning_rate=20.0, weight_decay=8e-7, gradient_clip=0.25, patience=5, test_batch_size=1),
)
