"""The recurrent supernet of DARTS.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 3.1.2 and A.1.2. At 300 units on Penn Treebank (10,000 words) it has 4,810,000
weights, and 36 x 5 architecture parameters.
"""

import numpy as np

from dnas.cells.language_model import Config, LanguageModel
from dnas.core.space import CellSpace
from dnas.supernet.edges import EdgeOptions, MixedActivations


def language_supernet(
  config: Config, space: CellSpace, vocabulary_size: int, rng: np.random.Generator, options: EdgeOptions = EdgeOptions()  # noqa: B008
) -> LanguageModel:
  """Returns a language model whose cell mixes all activations of the space on all edges. Hidden states are normalized over the batch.

  When the model is called, its argument `context` is the array of mixture weights, [edges, operations].
  """
  return LanguageModel(config, MixedActivations(space, options), space.num_nodes, space.concat, vocabulary_size, norm=True, rng=rng)
