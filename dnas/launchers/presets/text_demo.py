"""Small DARTS search, first order, for a recurrent cell on the English text that ships with Python.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; sizes and rates are ours, for two CPU cores.
Command: dnas search --preset=text_demo --workdir=runs/first_text
Expected result: a supernet whose validation perplexity falls from 1,540 to about 260, and a cell to retrain with text_demo_retrain.
Expected time: about 70 seconds on two CPU cores, a fifth of it compilation.
"""

from dnas.launchers.configs import DartsConfig, LanguageModelConfig, LanguageSearchConfig, TextConfig

LAUNCHER = "search"
CONFIG = LanguageSearchConfig(
  space="darts_recurrent",
  hypergradient="first_order",
  seed=3,
  data=TextConfig(dataset="python_docs", batch_size=32, sequence_length=20, buckets=1),
  supernet=LanguageModelConfig(units=64, dropout_embedding=0.1, dropout_inputs=0.2, dropout_hidden=0.1, dropout_output=0.2),
  darts=DartsConfig(
    epochs=6,
    learning_rate=10.0,
    final_learning_rate=10.0,
    momentum=0.0,
    weight_decay=5e-7,
    gradient_clip=0.25,
    arch_learning_rate=1e-2,
    arch_beta1=0.9,
  ),
)
