"""The choice of a differentiable method with its settings, which the configurations of all searches share."""

import dataclasses
from typing import Any

import jax

from dnas.core import config as config_lib
from dnas.core.config import check_name, check_types, named
from dnas.core.registry import is_foreign
from dnas.launchers._config_checks import check_seed
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.methods import METHODS, DifferentiableMethod
from dnas.search.gradient.remedies import IDLE, Remedies
from dnas.search.gradient.stages import Start
from dnas.search.gradient.workload import Workload
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.hypergradients import HYPERGRADIENTS, Hypergradient
from dnas.supernet.limits import Limit

_OF_ARCH_STEPS = ("hypergradient", *(f"darts.{name}" for name in ("arch_learning_rate", "arch_beta1", "arch_beta2", "arch_weight_decay")))
"""Settings of the steps of the architecture."""


class MethodConfig:
  """What a configuration with the fields `method`, `hypergradient` and `remedies` does with them."""

  method: str
  hypergradient: str
  remedies: Remedies
  darts: DartsConfig

  def recorded(self) -> dict[str, Any]:
    """Returns the flattened configuration as a run keeps it.

    The settings of others' units that are not chosen are left out: what registers them may come to register more, and the run goes on.
    """
    chosen = self.method, self.hypergradient_name
    named = {name: registry[name].__module__ for registry in (METHODS, HYPERGRADIENTS) for name in registry}
    idle = [name for name, module in named.items() if is_foreign(module) and name not in chosen]
    return {path: value for path, value in config_lib.flatten(self).items() if path.partition(".")[0] not in idle}

  def make_method(self) -> DifferentiableMethod:
    """Returns the chosen method with its settings."""
    return config_lib.unit(self, METHODS, self.method)

  @property
  def hypergradient_name(self) -> str:
    """The chosen estimator, or that of the method's paper."""
    return self.hypergradient or METHODS[self.method].hypergradient

  def make_hypergradient(self) -> Hypergradient:
    """Returns the chosen estimator with its settings."""
    return config_lib.unit(self, HYPERGRADIENTS, self.hypergradient_name)

  def task(self, workload: Workload, seed: int, start: Start | None = None, limit: Limit | None = None) -> DartsTask:
    """Returns the search of a workload; see `DartsTask` for `start` and `limit`."""
    given = self.make_hypergradient(), jax.random.key(seed), self.make_method(), self.remedies
    return DartsTask(self.darts, workload, *given, start, limit)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component, _, field = path.partition(".")
    if component in config_lib.units(self, HYPERGRADIENTS) and component != self.hypergradient_name:
      return f"it does nothing with --hypergradient={self.hypergradient_name}, so leave it out, or choose --hypergradient={component}"
    if component in config_lib.units(self, METHODS) and component != self.method:
      return f"it does nothing with --method={self.method}, so leave it out, or choose --method={component}"
    if component == "remedies" and field in IDLE and IDLE[field](self.remedies):
      return "it does nothing with the other --remedies flags, so leave it out"
    of_arch_steps = path in _OF_ARCH_STEPS or component in config_lib.units(self, HYPERGRADIENTS)
    if self.darts.arch_warmup_epochs == self.darts.epochs and of_arch_steps:
      return f"it does nothing where --darts.arch_warmup_epochs is --darts.epochs, {self.darts.epochs}, so leave it out"
    if path == "darts.momentum" and self.darts.optimizer != "sgd":
      return f"it does nothing with --darts.optimizer={self.darts.optimizer}, so leave it out"
    return ""


@config_lib.mounts(METHODS, HYPERGRADIENTS)
@dataclasses.dataclass(frozen=True)
class NetworkSearchConfig(MethodConfig):
  """A differentiable search in a network of a user's own; the optimizers are those of the published CIFAR-10 recipe.

  Attributes:
    method: the differentiable method.
    hypergradient: estimator of the hypergradient; empty for the default of the method: single_level for snas, else first_order.
    seed: seed of the initial weights and architecture, of the order of the data, of augmentation and dropout.
  """

  method: str = named("darts", lambda: METHODS)
  hypergradient: str = named("", lambda: HYPERGRADIENTS)
  seed: int = 2
  remedies: Remedies = dataclasses.field(default_factory=Remedies)
  darts: DartsConfig = dataclasses.field(default_factory=DartsConfig)

  def __post_init__(self):
    check_types(self)
    check_seed(self.seed)
    check_name("method", self.method, METHODS)
    if self.hypergradient:
      check_name("hypergradient", self.hypergradient, HYPERGRADIENTS)
    edges = self.make_method().edges
    hint = "the choices of a network have no partial channels, so it must be 1; choose another method than pc_darts"
    config_lib.check(edges.partial_channels == 1, f"{self.method}.partial_channels", edges.partial_channels, hint)
    hint = "it belongs to the mixed edges of cells, and the choices of a network have none; leave it out"
    config_lib.check(edges == EdgeOptions(), f"{self.method}.ones_for_undrawn", edges.ones_for_undrawn, hint)
