"""The choice of a network, that of a genotype or a human-designed one, which configurations of trainings and descriptions share."""

from typing import Any, ClassVar

from dnas.core import config as config_lib
from dnas.core.registry import Registry

OF_CELLS = ("train.drop_path", "train.auxiliary_weight")
"""Fields that only networks of cells use."""

OF_CELL_NETWORKS = tuple(f"network.{field}" for field in ("cells", "stem", "stem_multiplier", "rematerialize", "drop_path_by_depth"))
"""Fields of a network of a genotype that networks of chains do not use."""


class NetworkChoice:
  """What a configuration with the fields `genotype`, `model` and `network` does with them.

  Attributes:
    model: name of a human-designed network; empty for the network of the genotype.
    registries: the registry of the human-designed networks, whose settings the configuration mounts.
  """

  model: str
  registries: ClassVar[tuple[Registry[Any], ...]] = ()

  def make_model(self) -> Any:
    """Returns the settings of the human-designed network."""
    return config_lib.unit(self, self.registries[0], self.model)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component = path.partition(".")[0]
    if component in self.registries[0]:
      without = f"with --model={self.model}" if self.model else "without --model"
      return "" if component == self.model else f"it does nothing {without}, so leave it out, or choose --model={component}"
    if self.of_another_network(path):
      return f"it is a setting of networks of cells and does nothing with --model={self.model}, so leave it out"
    return ""

  def untold(self, path: str) -> bool:
    """Returns whether --help leaves a setting out."""
    return self.of_another_network(path)

  def of_another_network(self, path: str) -> bool:
    """Returns whether a setting is of networks of cells, or of another model than the chosen one; False if none is chosen."""
    component = path.partition(".")[0]
    others = ("genotype", "network", *self.registries[0])
    return bool(self.model) and component != self.model and (component in others or path in OF_CELLS)
