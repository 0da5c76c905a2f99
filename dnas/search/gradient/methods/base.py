"""The interface of differentiable methods. A method chooses a relaxation, an architecture optimizer, a hypergradient and options of edges.

A method is a registered frozen dataclass of its own settings. Settings that all methods share, such as learning rates and the length of the
search, are in `search.gradient.darts.Config`. Every remedy against collapse (`search.gradient.remedies`) can be combined with every method.
"""

import dataclasses
from typing import ClassVar, Protocol

import optax

from dnas.core.config import check, check_positive
from dnas.core.errors import InputError, shown
from dnas.core.registry import Registry
from dnas.core.spaces import DecisionSpace
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.relaxations import Relaxation
from dnas.train import optimizers


class ArchRates(Protocol):
  """The rates of the architecture optimizer; `search.gradient.darts.Config` has them."""

  @property
  def arch_learning_rate(self) -> float:
    """The learning rate."""
    ...

  @property
  def arch_beta1(self) -> float:
    """Adam's decay of the first moment."""
    ...

  @property
  def arch_beta2(self) -> float:
    """Adam's decay of the second moment."""
    ...

  @property
  def arch_weight_decay(self) -> float:
    """The coefficient of the L2 penalty."""
    ...


@dataclasses.dataclass(frozen=True)
class DifferentiableMethod:
  """The base class of methods, with the choices of DARTS. A subclass overrides what differs."""

  hypergradient: ClassVar[str] = "first_order"
  """The paper's hypergradient, used if the configuration names none."""

  partial_channels: ClassVar[int] = 1
  """K: the operations of an edge see one K-th of the channels. Some methods make it a setting."""

  @property
  def edges(self) -> EdgeOptions:
    """The method's options for the edges of the supernet."""
    return EdgeOptions(self.partial_channels)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """Returns the relaxation on a space. Raises InputError for a space on which it has no meaning."""
    return Relaxation()

  def arch_optimizer(self, rates: ArchRates, space: DecisionSpace) -> optax.GradientTransformation:
    """Returns the optimizer of the architecture parameters."""
    return optimizers.adam(
      rates.arch_learning_rate, beta1=rates.arch_beta1, beta2=rates.arch_beta2, weight_decay=rates.arch_weight_decay
    )


def _check(name: str, method: type) -> None:
  if not (isinstance(method, type) and issubclass(method, DifferentiableMethod)):
    raise InputError(f"method '{name}' is {shown(method)}; register a frozen dataclass that extends dnas.DifferentiableMethod.")


METHODS: Registry[type[DifferentiableMethod]] = Registry("method", _check)


def check_temperatures(**values: float) -> None:
  """Raises FieldError for a temperature that is so small or so large that a float32 softmax is one-hot or uniform."""
  check_positive(**values)
  for field, value in values.items():
    check(1e-6 <= value <= 1e6, field, value, "it must be at least 1e-06 and at most 1e+06")


def check_channels(method: DifferentiableMethod, name: str, channels: int) -> None:
  """Raises FieldError unless K, the method's `partial_channels`, divides the number of channels of the supernet."""
  parts = method.partial_channels
  check(channels % parts == 0, f"{name}.partial_channels", parts, f"it must divide the channels of the supernet, {channels}")
