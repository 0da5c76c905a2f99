"""Retraining of the recurrent DARTS_V2, the published cell of second-order DARTS, on Penn Treebank.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.3 and appendix A.2.2.
Command: dnas train --preset=darts_ptb_retrain --workdir=runs/ptb_retrain
Expected result: 55.7 test and 58.1 validation perplexity with 23 million weights (table 2).
Expected time: 3 days on one GTX 1080 Ti. The published code trains until a person stops it, for at most 8,000 epochs. This preset trains
  for 3,600 epochs, as Li and Talwalkar do ("Random Search and Reproducibility for Neural Architecture Search", UAI 2019).
"""

from dnas.launchers.configs import LanguageModelConfig, LanguageRetrainConfig, LanguageTrainConfig, TextConfig

LAUNCHER = "train"
CONFIG = LanguageTrainConfig(
  space="darts_recurrent",
  genotype="DARTS_V2",
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
    dropout_words=0.1,
    dropout_embedding=0.2,
    dropout_inputs=0.75,
    dropout_hidden=0.25,
    dropout_output=0.75,
    activation_penalty=0.0,
    temporal_penalty=1e-3,
  ),
  train=LanguageRetrainConfig(epochs=3600, learning_rate=20.0, weight_decay=8e-7, gradient_clip=0.25, patience=5, test_batch_size=1),
)
