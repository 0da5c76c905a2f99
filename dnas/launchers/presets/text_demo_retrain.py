"""Small retraining of a recurrent cell on the English text that ships with Python.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; sizes and rates are ours, for two CPU cores.
Command: dnas train --preset=text_demo_retrain --genotype=runs/first_text --workdir=runs/first_text_retrained
Expected result: test perplexities of 90 to 106 for random cells; the text, and so the figure, differs between versions of Python.
Expected time: about 15 seconds on two CPU cores, without compilation.
"""

from dnas.launchers.configs import LanguageModelConfig, LanguageRetrainConfig, LanguageTrainConfig, TextConfig

LAUNCHER = "train"
CONFIG = LanguageTrainConfig(
  space="darts_recurrent",
  genotype="DARTS_V2",
  seed=3,
  data=TextConfig(dataset="python_docs", batch_size=32, sequence_length=20, length_deviation=3.0, buckets=1),
  network=LanguageModelConfig(units=64, dropout_embedding=0.1, dropout_inputs=0.2, dropout_hidden=0.1, dropout_output=0.2),
  train=LanguageRetrainConfig(epochs=15, learning_rate=10.0, weight_decay=5e-7, gradient_clip=0.25, patience=5, test_batch_size=10),
)
