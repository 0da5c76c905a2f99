"""Training of the LSTM with a mixture of softmaxes (MoS) on Penn Treebank, without finetuning.

Paper: Yang et al., "Breaking the Softmax Bottleneck: A High-Rank RNN Language Model", ICLR 2018, section 3.1 and appendix.
Command: dnas train --preset=lstm_mos_ptb --workdir=runs/lstm_mos
Expected result: 55.97 test and 58.08 validation perplexity with 22 million weights. Here 21,500,620 weights. 54.44 after finetuning
  (lstm_mos_ptb_finetune), 47.69 with dynamic evaluation too.
Expected time: not measured.

The released code adds 1e-8 to a probability before the logarithm. Here the logarithm is computed without that. No window here is longer
than the base length and 20 words; the released code admits 40. A window is longer than 20 once in 30,000.
"""

import dataclasses

from dnas.launchers.configs import LanguageRetrainConfig, LanguageTrainConfig, TextConfig
from dnas.nets.models.mos_lstm import MosLstm

LAUNCHER = "train"
CONFIG = dataclasses.replace(
  LanguageTrainConfig(),
  model="mos_lstm",
  seed=28,
  data=TextConfig(
    dataset="ptb",
    level="word",
    batch_size=12,
    eval_batch_size=10,
    sequence_length=70,
    short_probability=0.05,
    length_deviation=5.0,
    buckets=5,
  ),
  mos_lstm=MosLstm(),
  train=LanguageRetrainConfig(epochs=1000, learning_rate=20.0, weight_decay=1.2e-6, gradient_clip=0.25, patience=5, test_batch_size=1),
)
