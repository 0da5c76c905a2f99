"""The language model of a recurrent genotype, as the DARTS paper retrains it.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 3.3 and A.2.2. The published cells have 22,960,000 weights at 850 units on Penn
Treebank (10,000 words) and 33,127,878 at 700 units on WikiText-2 (33,278 words). The cell of Luo et al., "Neural Architecture
Optimization", NeurIPS 2018, has 27,295,000 at 850 units on Penn Treebank.
"""

import numpy as np

from dnas.cells.language_model import Config, LanguageModel
from dnas.core.genotype import Genotype
from dnas.nets.edges import DiscreteActivations


def derived_language_model(config: Config, genotype: Genotype, vocabulary_size: int, rng: np.random.Generator) -> LanguageModel:
  """Returns the language model of a genotype with a cell 'recurrent'. Its states are not normalized; it needs no context."""
  cell = genotype["recurrent"]
  return LanguageModel(config, DiscreteActivations(cell), len(cell.nodes), cell.concat, vocabulary_size, norm=False, rng=rng)
