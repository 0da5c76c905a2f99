"""Training of the recurrent cell of NAONet on Penn Treebank.

Paper: Luo et al., "Neural Architecture Optimization", NeurIPS 2018, table 4.
Command: dnas train --preset=naonet_ptb --workdir=runs/naonet_ptb
Expected result: 56.0 test perplexity with 27 million weights; the released code reports 56.02. Here 27,295,000 weights.
Expected time: not measured.

The values are those of the released code, which trains for 4,000 epochs. It draws initial weights from U(-0.04, 0.04), as here.
"""

from dnas.launchers.configs import LanguageModelConfig, LanguageRetrainConfig, LanguageTrainConfig, TextConfig

LAUNCHER = "train"
CONFIG = LanguageTrainConfig(
  space="darts_recurrent",
  genotype="NAONet",
  seed=1267,
  data=TextConfig(
    dataset="ptb",
    level="word",
    batch_size=64,
    eval_batch_size=10,
    sequence_length=35,
    short_probability=0.05,
    length_deviation=5.0,
    buckets=5,
  ),
  network=LanguageModelConfig(
    units=850,
    dropout_words=0.0,
    dropout_embedding=0.2,
    dropout_inputs=0.75,
    dropout_hidden=0.25,
    dropout_output=0.75,
    activation_penalty=0.0,
    temporal_penalty=1e-3,
  ),
  train=LanguageRetrainConfig(epochs=4000, learning_rate=20.0, weight_decay=8e-7, gradient_clip=0.25, patience=5, test_batch_size=1),
)
