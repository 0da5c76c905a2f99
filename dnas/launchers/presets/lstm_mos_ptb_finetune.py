"""Finetuning of the LSTM with a mixture of softmaxes (MoS) on Penn Treebank by averaged gradient descent.

Paper: Yang et al., "Breaking the Softmax Bottleneck: A High-Rank RNN Language Model", ICLR 2018, section 3.1 and appendix.
Command: dnas train --preset=lstm_mos_ptb_finetune --start_from=runs/lstm_mos --workdir=runs/lstm_mos_finetuned
Expected result: 54.44 test and 56.54 validation perplexity; 47.69 and 48.33 with --dynamic_evaluation.
Expected time: not measured.

--start_from names the folder of the training by the preset lstm_mos_ptb. Weights are averaged from the first step. The training ends when a
validation loss is above the lowest of all but the last five.
"""

import dataclasses

from dnas.launchers.presets import lstm_mos_ptb

LAUNCHER = "train"
_BASE = lstm_mos_ptb.CONFIG
CONFIG = dataclasses.replace(
  _BASE, seed=331, train=dataclasses.replace(_BASE.train, learning_rate=25.0, average_from_start=True)
)
