"""Progressive search: a stage starts from the result of an earlier search, with fewer and wider operations.

Source: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, section 2.3. In the first stage the operations of an edge see
a small part of the channels. The next stage prunes the weak operations and widens the others, as in Chen, Goodfellow and Shlens, "Net2Net",
ICLR 2016.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells.functional import Variables
from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.supernet.relaxations import OpMask

Tree = Any


@dataclasses.dataclass(frozen=True)
class Start:
  """The start of a stage.

  Attributes:
    variables: weights and batch statistics of the supernet.
    op_mask: masks of the remaining operations.
  """

  variables: Variables
  op_mask: OpMask


def start_from(space: CellSpace, old: Variables, mixture: Mapping[str, np.ndarray], new: Variables, keep: int) -> Start:
  """Returns the start of a stage.

  Args:
    space: the search space of both stages.
    old: final weights and batch statistics of the previous stage's supernet.
    mixture: final mixture weights of the previous stage by cell type, [edges, operations].
    new: initial weights and batch statistics of the new supernet, whose operations may see more channels.
    keep: number of operations that an edge keeps; 0 keeps all.

  Raises:
    InputError: if the supernets differ in structure, or a new width is not a multiple of the old one.
  """
  return Start(Variables(widen(old.weights, new.weights), widen(old.stats, new.stats)), strongest(space, mixture, keep))


def strongest(space: CellSpace, mixture: Mapping[str, np.ndarray], keep: int) -> dict[str, np.ndarray]:
  """Returns masks that keep the `keep` operations with the largest weights on every edge; 0 keeps all. Of equal weights the first wins."""
  masks = {}
  for cell in space.cells:
    order = np.argsort(-mixture[cell], axis=1, kind="stable")[:, : keep or len(space.operations)]
    masks[cell] = np.zeros(space.arch_shape(), np.float32)
    np.put_along_axis(masks[cell], order, 1.0, axis=1)
  return masks


def widen(old: Tree, new: Tree) -> Tree:
  """Returns the arrays of `old`, widened to the shapes of `new`.

  Channels are repeated. If the input channels of a weight are repeated r times, the weight is divided by r. The last axis of an array is
  its output channels. In arrays of more than two axes, the axis before the last is the input channels. The two halves of a factorized
  reduction are repeated separately, so its channels are in another order.

  Raises:
    InputError: as `start_from` does.
  """
  if jax.tree.structure(old) != jax.tree.structure(new):
    raise InputError("the supernet of the stage before has another structure; begin from a search of the same space and size.")
  return jax.tree.map(_widen_one, old, new)


def _widen_one(old: jax.Array, new: jax.Array) -> jax.Array:
  if old.shape == new.shape:
    return old
  times = [after // before for before, after in zip(old.shape, new.shape, strict=True)] if old.ndim == new.ndim else [0]
  if old.ndim != new.ndim or any(before * ratio != after for before, ratio, after in zip(old.shape, times, new.shape, strict=True)):
    hint = "make the new number of channels a multiple of the old one"
    raise InputError(f"an array of shape {old.shape} cannot be widened to {new.shape}; {hint}.")
  inputs = times[-2] if old.ndim > 2 else 1
  return jnp.tile(old, times) / inputs
