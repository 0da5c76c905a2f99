"""Remedies against the collapse of a differentiable search. They can be combined with every method and with each other."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys
from dnas.core.choice_space import SKIPS, ChoiceSpace
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types
from dnas.core.errors import FieldError, InputError
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar
from dnas.supernet.discretize import check_cap, of_cells
from dnas.supernet.perturbations import Adversarial, Perturbation, UniformNoise, Unperturbed
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation
from dnas.supernet.sharpening import Sharpening

PERTURBATIONS = ("none", "uniform", "adversarial")


@dataclasses.dataclass(frozen=True)
class Remedies:
  """Remedies against collapse; by default all are off.

  Attributes:
    stop_ratio: stops early once old / new is below this value; 0.75 in RobustDARTS; 0 never stops early. new is the dominant eigenvalue of
      the Hessian in the architecture parameters, averaged over the last stop_window diagnoses. old is the average over the stop_window
      diagnoses before. The result is then the architecture of stop_window diagnoses before the stop.
    stop_window: number of diagnoses over which the eigenvalue is averaged.
    skip_dropout: initial probability that a skip connection is dropped in a step; it falls linearly to zero (P-DARTS).
    skip_cap: largest number of skip connections in a cell of the result, 2 in P-DARTS; -1 sets no cap.
    perturbation: perturbation of the architecture parameters in the weight step: none, uniform (SDARTS-RS) or adversarial (SDARTS-ADV).
    perturbation_start: largest change of an architecture parameter by the perturbation, at the beginning of the search.
    perturbation_radius: largest change of an architecture parameter at the end of the search; between, the bound grows linearly.
    perturbation_steps: number of gradient steps of the adversarial perturbation.
    sharpening: coefficient, at the end of the search, of a penalty on the mean entropy of the edges. It grows linearly from zero. So the
      mixture ends near the discrete cell. 0 leaves it out.
    projection: whether the search ends with decisions edge by edge, by the loss of the supernet without each operation (DARTS-PT).
    projection_epochs: number of training epochs between two decisions of the projection.
  """

  stop_ratio: float = 0.0
  stop_window: int = 5
  skip_dropout: float = 0.0
  skip_cap: int = -1
  perturbation: str = "none"
  perturbation_start: float = 0.03
  perturbation_radius: float = 0.3
  perturbation_steps: int = 7
  sharpening: float = 0.0
  projection: bool = False
  projection_epochs: int = 5

  def __post_init__(self):
    check_types(self)
    check_fraction(stop_ratio=self.stop_ratio, skip_dropout=self.skip_dropout)
    check_positive(stop_window=self.stop_window, perturbation_steps=self.perturbation_steps, projection_epochs=self.projection_epochs)
    check_at_most(1000, perturbation_steps=self.perturbation_steps)
    check_at_most(10**5, projection_epochs=self.projection_epochs)
    numbers = ("perturbation_start", "perturbation_radius", "sharpening")
    check_not_negative(**{name: getattr(self, name) for name in numbers})
    check_at_most(1e6, **{name: getattr(self, name) for name in numbers})
    check(self.skip_cap >= -1, "skip_cap", self.skip_cap, "it must be -1 for no cap, or a number of skip connections")
    check_name("perturbation", self.perturbation, PERTURBATIONS)
    stops_and_projects = bool(self.stop_ratio) and self.projection
    check(not stops_and_projects, "projection", self.projection, "a search that stops early has no end to project at: set stop_ratio to 0")

  def relaxation(self, relaxation: Relaxation, space: DecisionSpace) -> Relaxation:
    """Returns the relaxation, with dropout of skip connections if `skip_dropout` is above zero."""
    return SkipDropout(relaxation, space, self.skip_dropout) if self.skip_dropout else relaxation

  def check_fits(self, space: DecisionSpace, epochs: int, final_learning_rate: float, diagnose_every: int) -> None:
    """Raises FieldError if the remedies do not fit the space, or a search with these settings (`darts.Config`)."""
    try:
      check_cap(space, self.cap)
    except InputError as e:
      raise FieldError("remedies.skip_cap", self.skip_cap, str(e).removesuffix(".")) from None
    if self.projection and not final_learning_rate:
      hint = "the epochs between the decisions of a projection train with it, so give one above zero"
      raise FieldError("darts.final_learning_rate", final_learning_rate, hint)
    diagnoses = epochs // diagnose_every if diagnose_every else 0
    if self.stop_ratio and diagnoses < 2 * self.stop_window:
      needed = f"it needs {2 * self.stop_window} diagnoses and the search has {diagnoses}"
      raise FieldError("remedies.stop_ratio", self.stop_ratio, f"{needed}; lower darts.diagnose_every or remedies.stop_window")

  def check_decides_alone(self, epochs: int, limited: bool) -> None:
    """Raises FieldError unless a projection decides without steps of the architecture, which sharpening and a limit of the cost need."""
    hint = f"the architecture must train after the warm-up, so give less than darts.epochs, {epochs}"
    alone = "only a search with remedies.projection, without sharpening and without a limit of the cost, can do without"
    check(self.projection and not self.sharpening and not limited, "darts.arch_warmup_epochs", epochs, f"{hint}; {alone}")

  def make_perturbation(self) -> Perturbation:
    """Returns the perturbation."""
    if self.perturbation == "adversarial":
      return Adversarial(self.perturbation_radius, self.perturbation_start, self.perturbation_steps)
    return UniformNoise(self.perturbation_radius, self.perturbation_start) if self.perturbation == "uniform" else Unperturbed()

  def make_sharpening(self) -> Sharpening | None:
    """Returns the penalty on the entropy of the mixture; None if there is none."""
    return Sharpening(self.sharpening) if self.sharpening else None

  @property
  def cap(self) -> int | None:
    """The largest number of skip connections in a cell; None for no cap."""
    return None if self.skip_cap < 0 else self.skip_cap


@dataclasses.dataclass(frozen=True)
class SkipDropout(Relaxation):
  """Wraps a relaxation with dropout of skip connections. The probability of dropping falls linearly to zero during the search.

  Source: Chen et al., "Progressive Differentiable Architecture Search" (P-DARTS), ICCV 2019, section 3.3. The paper drops elements of the
  output of a skip connection. This class drops the whole skip connection for one step, and scales the weights of kept skip connections by
  1 / (1 - probability).

  Attributes:
    inner: the wrapped relaxation.
    space: the space.
    rate: the probability of dropping at the start of the search.
  """

  inner: Relaxation
  space: DecisionSpace
  rate: float

  def init(self, space: DecisionSpace, key: jax.Array, scale: float) -> Arch:
    """See `Relaxation`."""
    return self.inner.init(space, key, scale)

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """See `Relaxation`."""
    keep = 1 - self.rate * (1 - progress)
    mixture = self.inner(arch, keys.derive(key, "inner"), progress)
    key, out = keys.derive(key, "skip_dropout"), {}
    for cell, weights in mixture.items():
      is_skip = np.array([name in SKIPS for name in self.space.columns_of(cell)])
      factors = jax.random.bernoulli(keys.derive(key, cell), keep, (len(weights), 1)) / keep
      out[cell] = jnp.where(is_skip[None], factors * weights, weights)
    return out

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """See `Relaxation`."""
    return self.inner.restricted(arch, op_mask)

  def mean(self, arch: Arch) -> Mixture:
    """See `Relaxation`."""
    return self.inner.mean(arch)

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """See `Relaxation`."""
    return self.inner.edges(arch)

  def penalty(self, arch: Arch) -> jax.Array:
    """See `Relaxation`."""
    return self.inner.penalty(arch)


IDLE = {
  "stop_window": lambda remedies: not remedies.stop_ratio,
  "perturbation_start": lambda remedies: remedies.perturbation == "none",
  "perturbation_radius": lambda remedies: remedies.perturbation == "none",
  "perturbation_steps": lambda remedies: remedies.perturbation != "adversarial",
  "projection_epochs": lambda remedies: not remedies.projection,
}
"""Name of a setting to a function of all remedies. The function returns whether the setting has no effect beside the others."""


def stops(eigenvalues: np.ndarray, ratio: float, window: int) -> bool:
  """Returns whether a search should stop early (Zela et al., "Understanding and Robustifying DARTS", ICLR 2020, section 5).

  Args:
    eigenvalues: dominant eigenvalues of the diagnoses so far, [n], oldest first.
    ratio: smallest allowed old / new; 0 never stops.
    window: W, the number of diagnoses in a mean. new is the mean of the last W eigenvalues, old the mean of the W eigenvalues before.
  """
  if not ratio or len(eigenvalues) < 2 * window:
    return False
  old, new = eigenvalues[-2 * window : -window].mean(), eigenvalues[-window:].mean()
  return bool(old < ratio * new)


@dataclasses.dataclass(frozen=True)
class Decision:
  """One decision of the projection: it chooses the operation of an edge, the edges of a node, or the options of a choice.

  Attributes:
    cell: the cell type, or the name of the choice.
    rows: rows of the mixture: the row of the edge, or the rows of all edges into the node.
    operation: whether the decision chooses the operation of an edge, or the options of a choice; otherwise it chooses the edges of a node.
  """

  cell: str
  rows: tuple[int, ...]
  operation: bool


def decisions(space: DecisionSpace, seed: int) -> tuple[Decision, ...]:
  """Returns the decisions of a projection, in random order.

  In a space of cells there is first one for every edge, then one for every node with too many edges. In a space of choices there is one for
  every choice.

  Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (DARTS-PT), ICLR 2021, algorithms 1 and 2.
  """
  rng = keys.generator(seed, "decisions")
  if isinstance(space, ChoiceSpace):
    choices = [Decision(point.name, (0,), True) for point in space.points]
    return tuple(choices[i] for i in rng.permutation(len(choices)))
  space = of_cells(space)
  edges = [Decision(cell, (row,), True) for cell in space.cells for row in range(len(space.edges))]
  targets = range(space.num_inputs, space.num_inputs + space.num_nodes)
  entering = [tuple(row for row, (_, target) in enumerate(space.edges) if target == node) for node in targets]
  nodes = [Decision(cell, rows, False) for cell in space.cells for rows in entering if len(rows) > space.edges_per_node]
  return tuple([edges[i] for i in rng.permutation(len(edges))] + [nodes[i] for i in rng.permutation(len(nodes))])
