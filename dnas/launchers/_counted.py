"""The counted costs of the networks of a comparison whose evaluator does not know them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from dnas.cells.image_stack import Size
from dnas.core.costs import Costs
from dnas.core.genotype import Genotype
from dnas.data import datasets
from dnas.launchers import _presets
from dnas.launchers._comparison_settings import ComparisonSettings, training_parts
from dnas.nets import derived_image, of_genotype


def can_count(config: ComparisonSettings) -> bool:
  """Returns whether a comparison names a preset that gives the networks their size, where no table knows their costs."""
  return config.evaluator != "tabular" and bool(config.training or config.search)


def costs_of(config: ComparisonSettings) -> Callable[[Genotype], Costs]:
  """Returns a function of an architecture that counts its network: that of --training, else one of the size of the supernet."""
  if config.training:
    preset: Any = training_parts(config)
    network = preset.network
  else:
    preset = _presets.load(config.search, "search")
    network = derived_image.Config(**{field.name: getattr(preset.supernet, field.name) for field in dataclasses.fields(Size)})
  network, dataset = dataclasses.replace(network, auxiliary=False), datasets.from_config(preset.data)
  shape, classes = dataset.train.images.shape[1:], dataset.num_classes
  return functools.cache(lambda genotype: of_genotype.costs_of(network, genotype, shape, classes))
