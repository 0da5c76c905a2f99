"""Differentiable methods. Each method chooses a relaxation, an architecture optimizer, a default hypergradient and options of the edges.

A method is a registered frozen dataclass of its own settings. Settings that all methods share, such as learning rates and the length of the
search, are in `search.gradient.darts.Config`. Every remedy against collapse (`search.gradient.remedies`) can be combined with every method.
"""

import dataclasses
from typing import ClassVar, Protocol

import optax

from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.core.registry import Registry
from dnas.core.space import CellSpace
from dnas.supernet.arch_optimizers import exponentiated_gradient
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.relaxations import Concrete, Dirichlet, EdgeNormalized, GumbelOneHot, Relaxation, Sigmoid, Simplex
from dnas.train import optimizers


class ArchRates(Protocol):
  """The rates of the architecture optimizer; `search.gradient.darts.Config` has them."""

  arch_learning_rate: float
  arch_beta1: float
  arch_beta2: float
  arch_weight_decay: float


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

  def relaxation(self, space: CellSpace) -> Relaxation:
    """Returns the relaxation on a space."""
    return Relaxation()

  def arch_optimizer(self, rates: ArchRates, space: CellSpace) -> optax.GradientTransformation:
    """Returns the optimizer of the architecture parameters."""
    return optimizers.adam(
      rates.arch_learning_rate, beta1=rates.arch_beta1, beta2=rates.arch_beta2, weight_decay=rates.arch_weight_decay
    )


METHODS: Registry[type[DifferentiableMethod]] = Registry("method")


@METHODS.register("darts")
@dataclasses.dataclass(frozen=True)
class Darts(DifferentiableMethod):
  """Softmax over operations. Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019."""


@METHODS.register("pc_darts")
@dataclasses.dataclass(frozen=True)
class PCDarts(DifferentiableMethod):
  """Operations on a part of the channels, and edge weights. Source: Xu et al., "PC-DARTS", ICLR 2020.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels.
  """

  partial_channels: int = 4  # type: ignore[misc]

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return EdgeNormalized(Relaxation(), space)


@METHODS.register("gdas")
@dataclasses.dataclass(frozen=True)
class Gdas(DifferentiableMethod):
  """One operation per edge, drawn anew at every step. Source: Dong and Yang, "GDAS", CVPR 2019.

  Attributes:
    start_temperature: temperature of the Gumbel softmax at the beginning of the search.
    end_temperature: temperature at the end of the search; it falls linearly.
    ones_for_undrawn: whether the gradient with respect to the weight of an undrawn operation takes the operation's output to be ones, as in
      the published code, which does not compute that output.
  """

  start_temperature: float = 10.0
  end_temperature: float = 0.1
  ones_for_undrawn: bool = False

  def __post_init__(self):
    check_types(self)
    _check_temperatures(start_temperature=self.start_temperature, end_temperature=self.end_temperature)

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return GumbelOneHot(self.start_temperature, self.end_temperature)

  @property
  def edges(self) -> EdgeOptions:
    """See `DifferentiableMethod`."""
    return EdgeOptions(ones_for_undrawn=self.ones_for_undrawn)


@METHODS.register("drnas")
@dataclasses.dataclass(frozen=True)
class DrNas(DifferentiableMethod):
  """Weights drawn from a Dirichlet distribution. Source: Chen et al., "DrNAS", ICLR 2021.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels; 1 is all of them, as on NAS-Bench-201.
    softmax: whether the search is validated and discretized with the softmax of the parameters, as in the published code; else with the
      mean of the distribution.
  """

  partial_channels: int = 1  # type: ignore[misc]
  softmax: bool = False

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Dirichlet(self.softmax)


@METHODS.register("gaea")
@dataclasses.dataclass(frozen=True)
class Gaea(DifferentiableMethod):
  """Mixture weights on the simplex, moved by exponentiated gradient. Source: Li et al., "GAEA", ICLR 2021.

  `darts.arch_learning_rate` is the rate of the exponentiated gradient, 0.1 in the paper. The other architecture rates are not used.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels; 4 with edge_weights is GAEA PC-DARTS.
    edge_weights: whether edges have weights on simplices of their own, as in PC-DARTS.
    uniform_start: whether all weights are equal at first, as in the published code.
    smallest: lower bound of the weights, 0.00001 in the published code; 0 sets no bound.
  """

  partial_channels: int = 1  # type: ignore[misc]
  edge_weights: bool = False
  uniform_start: bool = False
  smallest: float = 0.0

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)
    check(0 <= self.smallest <= 0.01, "smallest", self.smallest, "it must be at least 0 and at most 0.01, far below an equal share")

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    simplex = Simplex(self.uniform_start)
    return EdgeNormalized(simplex, space) if self.edge_weights else simplex

  def arch_optimizer(self, rates: ArchRates, space: CellSpace) -> optax.GradientTransformation:
    """See `DifferentiableMethod`."""
    return exponentiated_gradient(rates.arch_learning_rate, space, self.smallest)


@METHODS.register("snas")
@dataclasses.dataclass(frozen=True)
class Snas(DifferentiableMethod):
  """Samples of the concrete distribution; one loss trains weights and architecture. Source: Xie et al., "SNAS", ICLR 2019.

  The paper's resource penalty, which defines its three variants, is not implemented.

  Attributes:
    start_temperature: temperature at the beginning of the search.
    end_temperature: temperature at the end of the search; its logarithm falls linearly.
  """

  hypergradient: ClassVar[str] = "single_level"
  start_temperature: float = 1.0
  end_temperature: float = 0.03

  def __post_init__(self):
    check_types(self)
    _check_temperatures(start_temperature=self.start_temperature, end_temperature=self.end_temperature)

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Concrete(self.start_temperature, self.end_temperature)


@METHODS.register("fair_darts")
@dataclasses.dataclass(frozen=True)
class FairDarts(DifferentiableMethod):
  """A sigmoid for every operation, driven to 0 or 1. Source: Chu et al., "Fair DARTS", ECCV 2020.

  The paper removes edges whose sigmoids are below a threshold. Here every node keeps as many edges as the space defines.

  Attributes:
    zero_one: coefficient of the zero-one loss.
  """

  zero_one: float = 10.0

  def __post_init__(self):
    check_types(self)
    check_not_negative(zero_one=self.zero_one)
    check_at_most(1e6, zero_one=self.zero_one)

  def relaxation(self, space: CellSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Sigmoid(space, self.zero_one)


def _check_temperatures(**values: float) -> None:
  """Raises FieldError for a temperature that is so small or so large that a float32 softmax is one-hot or uniform."""
  check_positive(**values)
  for field, value in values.items():
    check(1e-6 <= value <= 1e6, field, value, "it must be at least 1e-06 and at most 1e+06")


def check_channels(method: DifferentiableMethod, name: str, channels: int) -> None:
  """Raises FieldError unless K, the method's `partial_channels`, divides the number of channels of the supernet."""
  parts = method.partial_channels
  check(channels % parts == 0, f"{name}.partial_channels", parts, f"it must divide the channels of the supernet, {channels}")
