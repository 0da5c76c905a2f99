"""The image network of a genotype, whatever its space, and its costs."""

from typing import Any

import numpy as np

from dnas.cells import functional
from dnas.cells.registries import CHAIN_SPACES
from dnas.core.costs import Costs
from dnas.core.genotype import Genotype
from dnas.nets import costs
from dnas.nets.conv_chain import ChainNetwork
from dnas.nets.derived_image import Config, DerivedImageNetwork


def build(config: Config, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator) -> Any:
  """Returns the network (`models.base.ImageNetwork`) for images of shape (H, W, C). Raises FieldError for a size that does not fit."""
  network = ChainNetwork if genotype.space in CHAIN_SPACES else DerivedImageNetwork
  return network(config, genotype, image_shape, num_classes, rng)


def costs_of(config: Config, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int) -> Costs:
  """Returns the costs of one image in the network that `build` returns."""
  network = build(config, genotype, image_shape, num_classes, np.random.default_rng(0))
  return costs.of_image(*functional.split(network), image_shape)
