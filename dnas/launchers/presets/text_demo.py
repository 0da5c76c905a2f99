"""Small GAEA search, first order, for a recurrent cell on the English text that ships with Python.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, for the space, and Li et al., "Geometry-Aware
Gradient Algorithms for Neural Architecture Search" (GAEA), ICLR 2021, for the method; sizes and rates are ours, for two CPU cores.
Command: dnas search --preset=text_demo --workdir=runs/first_text
Expected result: a mixture with about half the entropy of a uniform one, and a cell that is as good as random cells on average, once
text_demo_retrain has trained it (docs/results/searches.md).
Expected time: about 30 seconds on two CPU cores, a third of it compilation.
"""

from dnas.launchers.configs import DartsConfig, LanguageModelConfig, LanguageSearchConfig, TextConfig

LAUNCHER = "search"
CONFIG = LanguageSearchConfig(
  space="darts_recurrent",
  method="gaea",
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
    arch_learning_rate=10.0,
    arch_beta1=0.9,
  ),
)
