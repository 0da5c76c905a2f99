"""DARTS search on Penn Treebank with the first-order hypergradient, as published.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.1.2 and appendix A.1.2.
Command: dnas search --preset=darts_ptb_first_order --workdir=runs/ptb_first_order
Expected result: a genotype that retrains (darts_ptb_retrain) to 57.6 test perplexity (table 2; the best of four searches).
Expected time: the paper reports 0.5 GPU-days for four searches on one GTX 1080 Ti, so about 3 hours for one.
"""

from dnas.launchers.configs import PTB_SEARCH, LanguageModelConfig, LanguageSearchConfig, TextConfig

LAUNCHER = "search"
CONFIG = LanguageSearchConfig(
  space="darts_recurrent",
  hypergradient="first_order",
  seed=3,
  shared_masks=True,
  data=TextConfig(
    dataset="ptb", level="word", batch_size=256, eval_batch_size=10, sequence_length=35, short_probability=0.05, length_deviation=0.0
  ),
  supernet=LanguageModelConfig(
    units=300,
    dropout_words=0.0,
    dropout_embedding=0.2,
    dropout_inputs=0.75,
    dropout_hidden=0.25,
    dropout_output=0.75,
    activation_penalty=0.0,
    temporal_penalty=1e-3,
  ),
  darts=PTB_SEARCH,
)
