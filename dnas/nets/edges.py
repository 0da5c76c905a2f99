"""Edges of discrete cells, convolutional and recurrent. Drop-path on convolutional edges.

Sources: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.2; Larsson, Maire and Shakhnarovich, "FractalNet", 2017 (drop-path).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.activations import ACTIVATIONS
from dnas.cells.operations import OperationStack
from dnas.core import keys
from dnas.core.genotype import CellGenotype
from dnas.core.space import NONE, SKIPS


class DropPath(NamedTuple):
  """Drop-path: drops each edge of each example at random, and scales the edges that it keeps by 1 / (1 - rate).

  Attributes:
    key: typed random key. Every state of a cell has one of its own.
    rate: probability that an edge is dropped, a scalar.
  """

  key: jax.Array
  rate: jax.Array

  def __call__(self, index: int, x: jax.Array) -> jax.Array:
    """Drops examples of the outputs x of one operation on E edges, [E, B, H, W, C].

    `index` is the number of the operation among those of the state. It makes the mask of every operation a separate draw.
    """
    keep = 1 - self.rate
    mask = jax.random.bernoulli(keys.derive(self.key, index), keep, (*x.shape[:2], 1, 1, 1))
    return jnp.where(mask, x / keep, 0).astype(x.dtype)


class DiscreteEdges(nnx.Module):
  """The edges of a genotype that leave one state. Edges with the same operation run as one stack."""

  def __init__(
    self,
    cell: CellGenotype,
    source: int,
    channels: int,
    stride: int,
    rng: np.random.Generator,
    num_inputs: int = 2,
    rematerialize: bool = False,
    channels_in: int | None = None,
  ):
    """Builds the edges of `cell` that leave state `source`.

    Args:
      cell: the discrete cell.
      source: number of the state.
      channels: channels of the outputs.
      stride: 1 or 2.
      rng: source of the initial weights.
      num_inputs: number of input states of the cell.
      rematerialize: whether gradients recompute all arrays of the edges.
      channels_in: channels of the state; None stands for those of the outputs.
    """
    self.rematerialize = rematerialize
    targets: dict[str, list[int]] = {}
    for target, node in enumerate(cell.nodes, start=num_inputs):
      for operation, origin in node:
        if origin == source and operation != NONE:
          targets.setdefault(operation, []).append(target)
    self.targets = tuple((name, tuple(nodes)) for name, nodes in targets.items())
    self.identities = SKIPS if stride == 1 and channels_in in (None, channels) else ()
    options: dict[str, Any] = {"affine": True, "rng": rng, "channels_in": channels_in}
    self.operations = nnx.Dict({name: OperationStack((name,), len(nodes), channels, stride, **options) for name, nodes in targets.items()})

  def __call__(self, x: jax.Array, drop_path: DropPath | None, train: bool) -> Mapping[int, jax.Array]:
    """Maps a state, [B, H, W, C], to {target: sum of the outputs of the edges from this state}. Drop-path never drops an identity."""
    options = {"train": train, "rematerialize": self.rematerialize}
    return functional.call_segment(self, x, drop_path, function=DiscreteEdges._received, **options) if self.targets else {}

  def _received(self, x: jax.Array, drop_path: DropPath | None, train: bool) -> Mapping[int, jax.Array]:
    received: dict[int, jax.Array] = {}
    for index, (name, nodes) in enumerate(self.targets):
      output = self.operations[name](x, train)[name]
      output = jnp.broadcast_to(output, (len(nodes), *output.shape[1:]))
      if drop_path is not None and name not in self.identities:
        output = drop_path(index, output)
      for edge, target in enumerate(nodes):
        received[target] = received[target] + output[edge] if target in received else output[edge]
    return received


@dataclasses.dataclass(frozen=True)
class DiscreteActivations:
  """The edges into the nodes of a discrete recurrent cell (`darts_recurrent.IncomingEdges`).

  Attributes:
    cell: the cell.
  """

  cell: CellGenotype

  def sources(self, node: int) -> tuple[int, ...]:
    """Returns the source of every edge into the node."""
    return tuple(source for _, source in self.cell.nodes[node - 1])

  def __call__(self, node: int, x: jax.Array, context: None) -> tuple[jax.Array, jax.Array]:
    """Applies to each row of x, [E, B, H], the activation of its edge. Also returns the weights of the edges, [E], all 1."""
    edges = self.cell.nodes[node - 1]
    return jnp.stack([ACTIVATIONS[operation](x[index]) for index, (operation, _) in enumerate(edges)]), jnp.ones(len(edges))
