"""Mixed operations: the edges of convolutional and recurrent supernets.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2; partial channels: Xu et al., "PC-DARTS", ICLR 2020, equation 2.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional, stacks
from dnas.cells.activations import ACTIVATIONS
from dnas.cells.operations import OPERATIONS, OperationStack, Pool
from dnas.core import devices
from dnas.core.space import NONE, CellSpace


@dataclasses.dataclass(frozen=True)
class EdgeOptions:
  """The settings of edges that a method chooses.

  Attributes:
    partial_channels: K; the operations of an edge see 1/K of the channels (PC-DARTS).
    ones_for_undrawn: whether the gradient in the weight of an undrawn operation treats the output of the operation as ones (see `Gdas`).
  """

  partial_channels: int = 1
  ones_for_undrawn: bool = False


class MixedEdges(nnx.Module):
  """All edges that leave one state. Each edge is a mixture of all operations of the space. Work that the edges share runs once.

  With partial channels, the operations see the first 1/K of the channels. The other channels bypass them, multiplied by the weight of the
  edge itself. Then the channels are shuffled, so that the next cell's operations see other channels.
  """

  def __init__(
    self,
    space: CellSpace,
    source: int,
    channels: int,
    stride: int,
    rng: np.random.Generator,
    options: EdgeOptions = EdgeOptions(),  # noqa: B008  (frozen)
    rematerialize: bool = False,
  ):
    self.rematerialize = rematerialize
    self.targets = tuple(target for origin, target in space.edges if origin == source)
    columns = {name: column for column, name in enumerate(space.operations) if name != NONE}
    self.mixing = Mixing(tuple(columns.items()), channels // options.partial_channels, stride, options)
    pools = [name for name in columns if isinstance(OPERATIONS[name], Pool)]
    others = [name for name in columns if name not in pools]
    sizes = self.mixing.seen, stride, False, rng
    self.pools = OperationStack(pools, 1, *sizes, space.pool_norm) if self.targets and pools else None
    self.operations = OperationStack(others, len(self.targets), *sizes) if self.targets else None

  def __call__(self, x: jax.Array, weights: Sequence["EdgeWeights"], train: bool) -> Mapping[int, jax.Array]:
    """Maps a state, [B, H, W, C], and the weights of its outgoing edges to {target: output of the edge}.

    The operation `none` is not computed, since its output is zero. It still has a weight, so the other weights of its edge are smaller.
    """
    if self.operations is None:
      return {}
    options: dict[str, Any] = {"train": train, "rematerialize": self.rematerialize}
    seen = x[..., : self.mixing.seen]
    pooled = {} if self.pools is None else functional.call_segment(self.pools, seen, **options)
    edges = functional.call_stack(self.operations, weights, x, pooled, function=self.mixing, **options)
    return dict(zip(self.targets, edges, strict=True))


class EdgeWeights(NamedTuple):
  """The weights of a stack of edges.

  Attributes:
    operations: weights of the operations, [edges, operations].
    edges: weights of the edges themselves, [edges]; None without partial channels.
  """

  operations: jax.Array
  edges: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Mixing:
  """The mixture of operations on a stack of edges, equation 2 of DARTS.

  Attributes:
    columns: the pairs (name, column of the weights), for all operations but `none`.
    seen: number of channels that the operations see.
    stride: 1 or 2.
    options: the settings that the method chooses.
  """

  columns: tuple[tuple[str, int], ...]
  seen: int
  stride: int
  options: EdgeOptions

  def __call__(
    self, operations: OperationStack, weights: EdgeWeights, x: jax.Array, pooled: Mapping[str, jax.Array], train: bool
  ) -> list[jax.Array]:
    """Applies the operations to a state, and mixes their outputs with the outputs of the pooling operations.

    Args:
      operations: the operations other than pooling, each on every edge.
      weights: weights of the stack of edges.
      x: the state, [B, H, W, C].
      pooled: name of a pooling operation to its output, [1, B, ceil(H / stride), ceil(W / stride), seen]. All edges share this output.
      train: whether batch statistics are used and updated.

    Returns:
      The output of every edge, [B, ceil(H / stride), ceil(W / stride), C].
    """
    chex.assert_rank([x, weights.operations], [4, 2])
    outputs = {**operations(x[..., : self.seen], train), **pooled}
    mixture, ones = _with_ones(weights.operations) if self.options.ones_for_undrawn else (weights.operations, None)
    total = _weighted_sum([mixture[:, column] for _, column in self.columns], [outputs[name] for name, _ in self.columns])
    total = (total if ones is None else total + ones[:, None, None, None, None]).astype(x.dtype)
    if weights.edges is not None:
      rest = x[..., self.seen :]
      rest = rest if self.stride == 1 else _max_pool_2x2(rest)
      passing = (weights.edges[:, None, None, None, None] * rest[None]).astype(x.dtype)
      total = jnp.concatenate([total, passing], -1)
      total = total.reshape(*total.shape[:-1], self.options.partial_channels, self.seen).swapaxes(-1, -2).reshape(total.shape)
    return [edge[0] for edge in jnp.split(total, len(mixture))]


def _weighted_sum(weights: Sequence[jax.Array], outputs: Sequence[jax.Array]) -> jax.Array:
  """Returns the sum of outputs [E or 1, B, H, W, C], each multiplied by weights [E]."""
  return _summed_at_once(weights, outputs) if devices.backend() != "cpu" else _summed(weights, outputs)


def _summed(weights: Sequence[jax.Array], outputs: Sequence[jax.Array]) -> jax.Array:
  total: Any = sum(weight[:, None, None, None, None] * x for weight, x in zip(weights, outputs, strict=True))
  return total


@jax.custom_vjp
def _summed_at_once(weights: Sequence[jax.Array], outputs: Sequence[jax.Array]) -> jax.Array:
  """Is `_summed`; its gradient in all weights is one reduction, since on an accelerator every launch costs."""
  return _summed(weights, outputs)


def _summed_forward(weights: Sequence[jax.Array], outputs: Sequence[jax.Array]) -> tuple[jax.Array, Any]:
  return _summed(weights, outputs), (weights, outputs)


def _summed_backward(saved: Any, g: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
  weights, outputs = saved
  sums = stacks.sums_at_once([g * x for x in outputs], (1, 2, 3, 4))
  of_weights = [total.astype(weight.dtype) for total, weight in zip(sums, weights, strict=True)]
  of_outputs = [weight[:, None, None, None, None] * g for weight in weights]
  pairs = zip(of_outputs, outputs, strict=True)
  return of_weights, [(own if len(own) == len(x) else own.sum(0, keepdims=True)).astype(x.dtype) for own, x in pairs]


_summed_at_once.defvjp(_summed_forward, _summed_backward)


def _with_ones(mixture: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns weights for the outputs, and a term per edge, [edges], to add to the weighted sum of the outputs.

  The term is zero, and its derivative with respect to every undrawn weight is one. So the gradient in an undrawn weight treats the output
  of the operation as ones.

  Args:
    mixture: weights, [edges, operations]: one for drawn operations, zero for the others.
  """
  constant = jax.lax.stop_gradient(mixture)
  drawn = constant > 0.5
  return jnp.where(drawn, mixture, constant), jnp.where(drawn, 0, mixture - constant).sum(1)


def _max_pool_2x2(x: jax.Array) -> jax.Array:
  """Halves height and width of [B, H, W, C] by max pooling. If their number is odd, the last row or column is pooled alone."""
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf)
  return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).max((2, 4))


def outgoing_rows(space: CellSpace, source: int) -> tuple[int, ...]:
  """Returns the rows of the architecture parameters for the edges that leave a state."""
  return tuple(row for row, (origin, _) in enumerate(space.edges) if origin == source)


@dataclasses.dataclass(frozen=True)
class MixedActivations:
  """All edges into the nodes of a recurrent cell, each a mixture of all activations of the space (`darts_recurrent.IncomingEdges`).

  Attributes:
    space: the space.
    options: the settings that the method chooses; `partial_channels` is ignored.
  """

  space: CellSpace
  options: EdgeOptions = EdgeOptions()

  def sources(self, node: int) -> tuple[int, ...]:
    """Returns all earlier states."""
    return tuple(range(node))

  def __call__(self, node: int, x: jax.Array, mixture: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes the activations of x, [E, B, H], by the rows of this node in `mixture`, [edges, operations]; `none` adds nothing."""
    first = self.space.edges.index((0, node))
    weights = mixture[first : first + node]
    columns = {name: column for column, name in enumerate(self.space.operations) if name != NONE}
    mixture, ones = _with_ones(weights) if self.options.ones_for_undrawn else (weights, None)
    activated: Any = sum(mixture[:, column, None, None] * ACTIVATIONS[name](x) for name, column in columns.items())
    activated = activated if ones is None else activated + ones[:, None, None]
    return activated, weights[:, np.array(list(columns.values()))].sum(1)
