"""The graph of an architecture, and its encoders: arrays whose shapes are the same for all architectures of a space.

The nodes of the graph are the inputs of a cell, its edges in the order of the space, and its output. An edge of the cell links to all edges
that leave its target. Source: Zhang, Ren and Urtasun, "Graph HyperNetworks for Neural Architecture Search", ICLR 2019, sections 3 and 4.

Axes: T cell types, N nodes of a graph, F kinds of nodes, W width of a state.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import Linear
from dnas.core.registry import Registry
from dnas.core.space import NONE, CellSpace


class Graph(NamedTuple):
  """The graphs of all cell types of an architecture.

  Attributes:
    kinds: the kind of every node, float32 [T, N, F]: one-hot over the operations, the inputs of the cell, and its output. All zeros for an
      edge that lies on no path from an input to the output; it is no part of the graph.
    links: 1 where the output of the node in the row enters the node in the column, float32 [T, N, N].
  """

  kinds: Any
  links: Any


def shape_of(space: CellSpace) -> tuple[int, int, int]:
  """Returns (T, N, F), which depend on the space alone."""
  return len(space.cells), space.num_inputs + len(space.edges) + 1, len(space.operations) + space.num_inputs + 1


def graph_of(space: CellSpace, path: Mapping[str, np.ndarray]) -> Graph:
  """Returns the graph of an architecture. `path` is from `discretize.one_hot`: cell type to weights, [edges, operations].

  Two architectures that are the same network up to the numbers of their nodes have the same graph up to the order of its nodes.
  """
  types, nodes, num_kinds = shape_of(space)
  kinds, links = np.zeros((types, nodes, num_kinds), np.float32), np.zeros((types, nodes, nodes), np.float32)
  inputs, ends = space.num_inputs, ((-1, 0),)
  operations = [column for column, name in enumerate(space.operations) if name != NONE]
  for number, cell in enumerate(space.cells):
    present = [row for row in range(len(space.edges)) if path[cell][row, operations].any()]
    present = _on_a_path(space, present)
    for row in present:
      kinds[number, inputs + row, operations] = path[cell][row, operations] > 0
    for row in present:
      source, target = space.edges[row]
      following = [inputs + other for other in present if space.edges[other][0] == target]
      links[number, inputs + row, following + [nodes - 1] * (target in space.concat)] = 1
      links[number, source, inputs + row] += source < inputs
    for place in range(inputs + len(ends)):
      kinds[number, place if place < inputs else nodes - 1, len(space.operations) + place] = 1
  return Graph(kinds, links)


def _on_a_path(space: CellSpace, rows: list[int]) -> list[int]:
  """Returns those of the edges that lie on a path from an input of the cell to its output."""
  reached, needed = set(range(space.num_inputs)), set(space.concat)
  for row in rows:  # edges are ordered by target
    source, target = space.edges[row]
    reached |= {target} if source in reached else set()
  for row in reversed(rows):
    source, target = space.edges[row]
    needed |= {source} if target in needed else set()
  return [row for row in rows if space.edges[row][0] in reached and space.edges[row][1] in needed]


Encoder = Callable[[Graph], jax.Array]
"""Maps a graph to the states of its nodes, [T, N, W]. An encoder is a module."""

ENCODERS: Registry[Callable[[CellSpace, int, int, np.random.Generator], Encoder]] = Registry("encoder")
"""Name to a class of encoders, of (space, width of a state, number of passes, source of the initial weights)."""


@ENCODERS.register("graph")
class GraphEncoder(nnx.Module):
  """Message passing by a gated recurrent unit, forwards and backwards over the nodes in their order (Zhang et al., equations 3 to 5).

  A node's state begins as a linear map of its kind. In every pass the nodes are visited from the inputs to the output, and then from the
  output to the inputs. A visited node sums the messages of its sources, or on the way back of its targets, and renews its state. A message
  is a perceptron of a state. All nodes share all weights, so the states do not depend on the numbers of the nodes.
  """

  def __init__(self, space: CellSpace, width: int, passes: int, rng: np.random.Generator):
    self.passes = passes
    self.start = Linear(shape_of(space)[2], width, rng)
    self.hidden, self.message = Linear(width, width, rng), Linear(width, width, rng)
    self.of_message, self.of_state = Linear(width, 3 * width, rng), Linear(width, 3 * width, rng)

  def __call__(self, graph: Graph) -> jax.Array:
    """See `Encoder`."""
    return jax.vmap(self._one)(graph.kinds, graph.links)

  def _one(self, kinds: jax.Array, links: jax.Array) -> jax.Array:
    order, exists = jnp.arange(len(kinds)), kinds.any(1)
    forwards, backwards = (order, exists, links.T), (order[::-1], exists[::-1], links[::-1])

    def visit(states: jax.Array, node: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
      number, there, sources = node
      message = sources @ self.message(jax.nn.relu(self.hidden(states)))
      state = jnp.where(there, self._renewed(message, states[number]), states[number])
      return states.at[number].set(state), None

    def one_pass(states: jax.Array, _: None) -> tuple[jax.Array, None]:
      states, _ = jax.lax.scan(visit, states, forwards)
      return jax.lax.scan(visit, states, backwards)

    return jax.lax.scan(one_pass, self.start(kinds), None, self.passes)[0]

  def _renewed(self, message: jax.Array, state: jax.Array) -> jax.Array:
    """The gated recurrent unit (Cho et al., 2014): [W] and [W] to [W]."""
    (reset, keep, new), (old_reset, old_keep, old) = (jnp.split(gates, 3) for gates in (self.of_message(message), self.of_state(state)))
    keep = jax.nn.sigmoid(keep + old_keep)
    return keep * state + (1 - keep) * jnp.tanh(new + jax.nn.sigmoid(reset + old_reset) * old)


@ENCODERS.register("flat")
class FlatEncoder(nnx.Module):
  """A perceptron of the whole architecture at once: the kinds of all nodes side by side to the states of all nodes.

  It is the simplest form of a hypernetwork for architectures, which knows nodes by their numbers and no links (Brock et al., "SMASH:
  One-Shot Model Architecture Search through HyperNetworks", ICLR 2018, section 3.2; there the encoding is a tensor of memory banks). The
  number of passes has no effect.
  """

  def __init__(self, space: CellSpace, width: int, passes: int, rng: np.random.Generator):
    types, nodes, kinds = shape_of(space)
    self.shape = types, nodes, width
    self.hidden = Linear(types * nodes * kinds, nodes * width, rng)
    self.states = Linear(nodes * width, types * nodes * width, rng)

  def __call__(self, graph: Graph) -> jax.Array:
    """See `Encoder`."""
    return self.states(jax.nn.relu(self.hidden(graph.kinds.reshape(-1)))).reshape(self.shape)
