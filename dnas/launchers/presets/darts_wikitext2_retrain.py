"""Retraining on WikiText-2 of the recurrent DARTS_V2, which was found on Penn Treebank, as published.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.4 and appendix A.2.2.
Command: dnas train --preset=darts_wikitext2_retrain --workdir=runs/wikitext2_retrain
Expected result: 69.6 test and 71.2 validation perplexity with 33 million weights (table 4).
Expected time: not in the paper; at twice the words of Penn Treebank, days on one GPU.
"""

import dataclasses

from dnas.launchers.presets import darts_ptb_retrain

_PTB = darts_ptb_retrain.CONFIG

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  _PTB,
  data=dataclasses.replace(_PTB.data, dataset="wikitext2"),
  network=dataclasses.replace(_PTB.network, units=700, dropout_hidden=0.15),
  train=dataclasses.replace(_PTB.train, weight_decay=5e-7),
)
