"""Training of the LSTM with weight drop (AWD-LSTM) on Penn Treebank, without finetuning.

Paper: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, sections 4 and 5.
Command: dnas train --preset=awd_lstm_ptb --workdir=runs/awd_lstm
Expected result: 58.8 test and 60.7 validation perplexity; 57.3 and 60.0 after finetuning. The released code reports 58.8 and 61.2. Here
  24,221,600 weights.
Expected time: not measured.

No window here is longer than the base length and 20 words; the released code admits 40. A window is longer than 20 once in 30,000.
Finetuning is a second training: --start_from=runs/awd_lstm --train.average_from_start, with another --workdir.
Newer versions of PyTorch than that of the paper give somewhat worse results with the released code.
"""

import dataclasses

from dnas.launchers.configs import LanguageRetrainConfig, LanguageTrainConfig, TextConfig
from dnas.nets.models.awd_lstm import AwdLstm

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  LanguageTrainConfig(),
  model="awd_lstm",
  seed=141,
  data=TextConfig(
    dataset="ptb",
    level="word",
    batch_size=20,
    eval_batch_size=10,
    sequence_length=70,
    short_probability=0.05,
    length_deviation=5.0,
    buckets=5,
  ),
  awd_lstm=AwdLstm(),
  train=LanguageRetrainConfig(epochs=500, learning_rate=30.0, weight_decay=1.2e-6, gradient_clip=0.25, patience=5, test_batch_size=1),
)
