"""What every operation of a space costs in a discrete network of the size of a supernet, and the expected cost of a mixture.

The cost of such a network is a sum: that of its skeleton, which is all that no decision changes, and that of its edges. The skeleton is the
stack of the space with edges that only note where they stand. Every operation is then counted alone at every place where it stands. So
nothing is known of an operation here but that it can be called.

Sources: Cai, Zhu and Han, "ProxylessNAS", ICLR 2019, section 3.3; Wu et al., "FBNet", CVPR 2019, section 3.2.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import Linear
from dnas.cells.image_stack import Size
from dnas.cells.operations import OperationStack
from dnas.cells.registries import STACKS
from dnas.compiler import inference
from dnas.core import keys, tree
from dnas.core.errors import FieldError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, CellSpace
from dnas.supernet.relaxations import Mixture, OpMask, everything

COUNTED = ("multiply_adds", "weights")
"""Kinds of costs that follow from the shapes alone."""


@dataclasses.dataclass(frozen=True, eq=False)
class OperationCosts:
  """The costs of the operations of a space.

  Attributes:
    space: the space.
    constant: the cost of the skeleton.
    entries: cell type to the cost of every operation on every edge, summed over all cells of the type, float64 [edges, operations].
  """

  space: CellSpace
  constant: float
  entries: Mapping[str, np.ndarray]

  def expected(self, mixture: Mixture) -> jax.Array:
    """Returns the expected cost of a mixture, a scalar. It is differentiable in the weights.

    An edge draws its operation by its weights, among the operations that a discrete cell may have. If a node keeps all of its edges, every
    edge counts once. If it keeps k of more, it draws k edges, each by the sum of the weights that stand on it. So an edge of a DARTS cell
    that is mostly `none` counts little, though a discrete cell has no `none`.

    Args:
      mixture: cell type to weights, [edges, operations]; the scale of a row does not matter where a node keeps all of its edges.
    """
    total: Any = self.constant
    for cell, entries in self.entries.items():
      weights = jnp.asarray(mixture[cell]) * self.allowed(cell)
      sums = weights.sum(-1)
      means = (weights * entries.astype(np.float32)).sum(-1) / jnp.where(sums > 0, sums, 1)
      total = total + (self._shares(sums) * means).sum()
    return jnp.asarray(total, jnp.float32)

  def of(self, genotype: Genotype) -> float:
    """Returns the cost of the discrete network of an architecture."""
    space, total = self.space, self.constant
    for cell, entries in self.entries.items():
      for target, node in enumerate(genotype[cell].nodes, start=space.num_inputs):
        for operation, source in node:
          total += float(entries[space.edges.index((source, target)), space.operations.index(operation)])
    return total

  def bounds(self, op_mask: OpMask) -> tuple[float, float]:
    """Returns the expected costs of two mixtures: with the cheapest operation on every edge, and with the dearest.

    `op_mask` has 1 where an operation takes part, and 0 elsewhere, cell type to [edges, operations].
    """
    found = []
    for sign in (1, -1):
      mixture = {}
      for cell, entries in self.entries.items():
        allowed = np.asarray(op_mask[cell]) * self.allowed(cell)
        best = np.where(allowed > 0, sign * entries, np.inf).argmin(-1)
        mixture[cell] = np.eye(entries.shape[1], dtype=np.float32)[best] * allowed
      found.append(float(self.expected(mixture)))
    return found[0], found[1]

  def allowed(self, cell: str) -> np.ndarray:
    """Returns 1 for the operations that a discrete cell may have on an edge, 0 for others, float32 [edges, operations]."""
    may_be_none = np.array([name != NONE or self.space.none_allowed for name in self.space.operations], np.float32)
    return np.asarray(everything(self.space)[cell]) * may_be_none

  def _shares(self, sums: jax.Array) -> jax.Array:
    """Returns how often every edge is expected in a discrete cell, [edges], from the sums of the weights on every edge."""
    targets = np.array([target for _, target in self.space.edges])
    same = (targets[:, None] == targets).astype(np.float32)
    kept = np.minimum(self.space.edges_per_node, same.sum(1))
    of_node = same @ sums
    return jnp.where(kept < same.sum(1), kept * sums / jnp.where(of_node > 0, of_node, 1), sums > 0)


class Place(NamedTuple):
  """Where an operation stands.

  Attributes:
    channels_in: channels of the state.
    channels: channels of the output.
    stride: 1 or 2.
    height, width: pixels of the state.
  """

  channels_in: int
  channels: int
  stride: int
  height: int
  width: int

  def build(self, name: str) -> tuple[functional.Network, functional.Variables]:
    """Returns an operation at this place, as a derived network has it. It maps a state, [B, H, W, C], to a dictionary with its output."""
    rng = keys.generator(0, "operation")
    return functional.split(OperationStack((name,), 1, self.channels, self.stride, True, rng, channels_in=self.channels_in))

  def example(self, batch_size: int = 1) -> jax.ShapeDtypeStruct:
    """Returns the shape of a batch of states."""
    return jax.ShapeDtypeStruct((batch_size, self.height, self.width, self.channels_in), jnp.float32)


class _Noted(nnx.Module):
  """The edges that leave one state of a skeleton. An output is a view of the state, so it costs nothing."""

  def __init__(self, source: int, targets: tuple[int, ...], channels: int, stride: int, note: Callable[[int, Place], None]):
    self.source, self.targets, self.channels, self.stride, self.note = source, targets, channels, stride, note

  def __call__(self, x: jax.Array, context: None, train: bool) -> Mapping[int, jax.Array]:
    """See `darts_conv.OutgoingEdges`."""
    self.note(self.source, Place(x.shape[-1], self.channels, self.stride, *x.shape[1:3]))
    seen = x[:, :: self.stride, :: self.stride]
    seen = seen if x.shape[-1] == self.channels else jnp.broadcast_to(seen[..., :1], (*seen.shape[:-1], self.channels))
    return dict.fromkeys(self.targets, seen)


class _Network(nnx.Module):
  """A stack and its classifier."""

  def __init__(self, stack: nnx.Module, width: int, num_classes: int, rng: np.random.Generator):
    self.stack, self.classifier = stack, Linear(width, num_classes, rng)

  def __call__(self, images: jax.Array, states: int) -> jax.Array:
    """Maps [B, H, W, C] to logits, [B, classes]."""
    stack: Any = self.stack
    return self.classifier(stack(images, lambda index, cell: [None] * states, False)[-1].mean((1, 2)))


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A network without its operations.

  Attributes:
    space: the space.
    network, variables: the network, which maps images, [B, H, W, C], and the number of states of a cell to logits.
    image_shape: (H, W, C).
    places: for every cell of the stack its type, and the place of every operation that leaves each of its states.
  """

  space: CellSpace
  network: functional.Network
  variables: functional.Variables
  image_shape: tuple[int, int, int]
  places: tuple[tuple[str, int, Place], ...]

  @classmethod
  def of(cls, space: CellSpace, size: Size, image_shape: tuple[int, int, int], num_classes: int) -> "Skeleton":
    """Builds the skeleton of the discrete networks of a supernet. Raises FieldError for a size that the stack does not support."""
    found: list[tuple[str, int, Place]] = []

    def make_edges(
      cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator, channels_in: int | None = None
    ) -> _Noted:
      targets = tuple(target for origin, target in space.edges if origin == source)
      return _Noted(source, targets, channels, stride, lambda source, place: found.append((cell_type, source, place)))

    states = range(space.num_inputs, space.num_inputs + space.num_nodes)
    everywhere = CellGenotype(tuple(tuple(Edge(space.choices[0], source) for source in range(node)) for node in states), space.concat)
    rng = keys.generator(0, "skeleton")
    try:
      stack: Any = STACKS[space.name](dict.fromkeys(space.cells, everywhere), make_edges, size, image_shape[2], affine=True, rng=rng)
    except FieldError as e:
      raise e.within("supernet") from None
    network, variables = functional.split(_Network(stack, stack.widths[-1], num_classes, rng))
    found.clear()
    skeleton = cls(space, network, variables, image_shape, ())
    jax.eval_shape(skeleton.logits, variables, skeleton.example())
    return dataclasses.replace(skeleton, places=tuple(found))

  def logits(self, variables: functional.Variables, images: jax.Array) -> jax.Array:
    """Maps [B, H, W, C] to logits, [B, classes]."""
    return functional.apply(self.network, variables, images, self.space.num_inputs + self.space.num_nodes)[0]

  def example(self, batch_size: int = 1) -> jax.ShapeDtypeStruct:
    """Returns the shape of a batch of images."""
    return jax.ShapeDtypeStruct((batch_size, *self.image_shape), jnp.float32)

  def operations(self) -> list[tuple[str, Place]]:
    """Returns every operation but `none` at every place where it may stand, each pair once."""
    found: dict[tuple[str, Place], None] = {}
    for cell, source, place in self.places:
      for name in sorted({name for edge in self.space.edges if edge[0] == source for name in self.space.choices_of(cell, edge)} - {NONE}):
        found[name, place] = None
    return list(found)

  def costs(self, constant: float, cost: Mapping[tuple[str, Place], float]) -> OperationCosts:
    """Returns the costs of a space.

    Args:
      constant: cost of the skeleton.
      cost: cost of one operation at one place, for all of `operations`.
    """
    entries = {cell: np.zeros(self.space.arch_shape()) for cell in self.space.cells}
    for cell, source, place in self.places:
      for row, edge in enumerate(self.space.edges):
        for name in self.space.choices_of(cell, edge) if edge[0] == source else ():
          entries[cell][row, self.space.operations.index(name)] += 0.0 if name == NONE else cost[name, place]
    return OperationCosts(self.space, constant, entries)


def counted(skeleton: Skeleton, kind: str) -> OperationCosts:
  """Returns the costs of a kind in `COUNTED`, for one image: those of `nets.costs.of_image` of the derived networks, exactly."""
  if kind == "weights":
    constant = tree.size(skeleton.variables.weights)
    return skeleton.costs(constant, {key: tree.size(key[1].build(key[0])[1].weights) for key in skeleton.operations()})
  constant = _multiply_adds(skeleton.logits, skeleton.variables, skeleton.example())
  return skeleton.costs(constant, {key: _multiply_adds_of(*key) for key in skeleton.operations()})


def _multiply_adds_of(name: str, place: Place) -> int:
  network, variables = place.build(name)
  return _multiply_adds(lambda variables, x: functional.apply(network, variables, x, False)[0][name], variables, place.example())


def _multiply_adds(function: Callable[..., Any], variables: functional.Variables, example: jax.ShapeDtypeStruct) -> int:
  return inference.parts(jax.make_jaxpr(function)(jax.eval_shape(lambda: variables), example)).multiply_adds
