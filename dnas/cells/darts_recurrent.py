"""The recurrent cell of DARTS and its search space.

State 0 is computed from the input x_t and the previous hidden state h_{t-1}. Every node is computed from earlier states, each through an
activation and a highway gate. The new hidden state is the mean of nodes. Sources: Liu, Simonyan and Yang, "DARTS: Differentiable
Architecture Search", ICLR 2019, sections 2.1, 3.1.2 and A.1.2; Pham et al., "Efficient Neural Architecture Search", ICML 2018 (the form of
the cell); Zilly et al., "Recurrent Highway Networks", ICML 2017 (the gate).

  state 0   c, h = [x_t * m_x, h_{t-1} * m_h] W_0      s_0 = h_{t-1} + sigmoid(c) * (tanh(h) - h_{t-1})
  node i    c_j, h_j = (s_j * m_h) W_i                  s_i = sum over edges (j, k) of p_jk (s_j + sigmoid(c_j) * (f_k(h_j) - s_j))

All predecessors and activations of a node share its weights W_i. m_x and m_h are the masks of variational dropout (Gal and Ghahramani,
2016), the same at every time step. The supernet and the derived network share this wiring. They differ only in the edges.

Axes: T time, B batch, E edges into one node, I input features, H units.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import BATCH_NORM_EPSILON, on_device
from dnas.cells.precision import product
from dnas.cells.registries import SPACES
from dnas.core.space import CellSpace

SPACE = CellSpace(
  name="darts_recurrent",
  cells=("recurrent",),
  operations=("none", "tanh", "relu", "sigmoid", "identity"),
  num_inputs=1,
  num_nodes=8,
  edges_per_node=1,
)
SPACES.register(SPACE.name)(SPACE)

INIT_RANGE = 0.04
"""The weights of the cell and of the embedding are drawn from U(-0.04, 0.04)."""


class IncomingEdges(Protocol):
  """The edges that enter the nodes of a cell. The object is hashable and holds no weights: the nodes own them."""

  def sources(self, node: int) -> tuple[int, ...]:
    """Returns the states that a node reads, one for every edge; `node` is the state number of the node."""
    ...

  def __call__(self, node: int, x: jax.Array, context: Any, /) -> tuple[jax.Array, jax.Array]:
    """Applies the activations of the edges into a node.

    Args:
      node: state number of the node.
      x: the input of each edge, [E, B, H].
      context: argument of the edges at every call: mixture weights in a supernet, None in a derived network.

    Returns:
      sum over k of p_jk f_k(x_j), [E, B, H], and sum over k of p_jk, [E].
    """
    ...


class Masks(NamedTuple):
  """Variational dropout masks of one sequence, scaled by 1 / (1 - rate): [B, I] for the inputs, [B, H] for all hidden states."""

  inputs: jax.Array
  hidden: jax.Array


class RecurrentCell(nnx.Module):
  """One recurrent cell, run over a sequence."""

  def __init__(
    self,
    edges: IncomingEdges,
    num_nodes: int,
    concat: Sequence[int],
    features_in: int,
    units: int,
    norm: bool,
    rng: np.random.Generator,
    precision: str = "float32",
  ):
    """Builds the cell.

    Args:
      edges: the edges into the nodes.
      num_nodes: number of nodes.
      concat: the states whose mean is the output.
      features_in: I, features of the input.
      units: H, features of every state.
      norm: whether every state is normalized over its batch, without scale and bias, in training and inference, as in a search. The paper
        says that its search uses batch statistics throughout. The published code evaluates with running statistics that all states and
        time steps share, and that fit none of them.
      rng: source of the initial weights.
      precision: precision of the products.
    """
    self.features_in = features_in
    self.wiring = Wiring(edges, num_nodes, tuple(concat), norm, precision)
    self.initial = uniform(rng, (features_in + units, 2 * units))
    self.nodes = uniform(rng, (num_nodes, units, 2 * units))

  def __call__(
    self, inputs: jax.Array, hidden: jax.Array, length: jax.Array, masks: Masks | None, context: Any
  ) -> tuple[jax.Array, jax.Array]:
    """Runs the cell over a sequence.

    Args:
      inputs: [T, B, I].
      hidden: the hidden state before the first time step, [B, H].
      length: number of valid time steps, an integer scalar, at most T. Later steps do not change the hidden state.
      masks: variational dropout, or None. No gradient flows into the masks.
      context: argument of the edges.

    Returns:
      The output of every time step, [T, B, H], and the hidden state after `length` steps. Outputs from `length` on are meaningless.
    """
    initial, hidden_initial = jnp.split(self.initial[...], [self.features_in])
    weights = (hidden_initial, *(self.nodes[node] for node in range(self.wiring.num_nodes)))
    if masks is not None:
      inputs = inputs * masks.inputs[None]
    projected = product(inputs, initial, self.wiring.precision)
    if context is None:
      return _over_time(self.wiring, weights, projected, hidden, length, masks)
    return self.wiring.over_time(weights, None, projected, hidden, length, masks, context)[0]


@dataclasses.dataclass(frozen=True)
class Wiring:
  """The computation of a cell; see `RecurrentCell`.

  Attributes:
    edges: the edges into the nodes.
    num_nodes: number of nodes.
    concat: the states whose mean is the output.
    norm: whether states are normalized.
    precision: precision of the products.
  """

  edges: IncomingEdges
  num_nodes: int
  concat: tuple[int, ...]
  norm: bool
  precision: str

  def over_time(
    self,
    weights: Sequence[jax.Array],
    traces: Sequence[jax.Array] | None,
    projected: jax.Array,
    hidden: jax.Array,
    length: jax.Array,
    masks: Masks | None,
    context: Any,
  ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    """Runs the cell over a sequence.

    Args:
      weights: of state 0 and of every node, [H, 2H] each.
      traces: zeros, [T, E, B, 2H] for state 0 and for every node, into which the gradients of the products go, and none into the weights;
        None for gradients in the weights.
      projected: the products of the inputs, [T, B, 2H].
      hidden: see `RecurrentCell`.
      length: see `RecurrentCell`.
      masks: see `RecurrentCell`.
      context: see `RecurrentCell`.

    Returns:
      What `RecurrentCell` returns, and with traces the left factors of the products, [T, E, B, H] each.
    """

    def step(hidden: jax.Array, xs: Any) -> tuple[jax.Array, tuple[jax.Array, tuple[jax.Array, ...]]]:
      projection, time, traces = xs
      output, factors = self._step(projection, hidden, weights, traces, masks, context)
      return jnp.where(time < length, output, hidden), (output, factors)

    # The gradient recomputes each time step. In a derived network it saves the products, which are few.
    step = jax.checkpoint(step, prevent_cse=False, policy=jax.checkpoint_policies.dots_saveable if context is None else None)
    hidden, (outputs, factors) = jax.lax.scan(step, hidden, (projected, jnp.arange(len(projected)), traces))
    return (outputs, hidden), factors

  def _step(
    self,
    projection: jax.Array,
    hidden: jax.Array,
    weights: Sequence[jax.Array],
    traces: Sequence[jax.Array] | None,
    masks: Masks | None,
    context: Any,
  ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the output of one time step, [B, H], and with traces the left factors of the products."""
    factors: list[jax.Array] = []

    def times(x: jax.Array, node: int) -> jax.Array:
      x = _masked(x, masks)
      if traces is None:
        return product(x, weights[node], self.precision)
      factors.append(x)
      return _traced_product(self.precision, x, weights[node], traces[node])

    reads = [source for node in range(1, self.num_nodes + 1) for source in self.edges.sources(node)] + list(self.concat)
    state = _highway(projection + times(hidden[None], 0)[0], hidden)
    copies: list[list[jax.Array]] = []
    for node in range(self.num_nodes + 1):
      if node:
        sources = jnp.stack([copies[source].pop() for source in self.edges.sources(node)])
        state = self._node(node, sources, times(sources, node), context)
      if self.norm:
        state = _normalized(state)
      copies.append(list(_fan_out(state, reads.count(node))))
    output = sum(copies[state].pop() for state in self.concat) / len(self.concat)
    return output, tuple(factors)  # pyright: ignore[reportReturnType]  # the output is not zero, as it is of arrays

  def _node(self, node: int, sources: jax.Array, products: jax.Array, context: Any) -> jax.Array:
    gate, x = jnp.split(products, 2, -1)
    gate = jax.nn.sigmoid(gate)
    activated, share = self.edges(node, x, context)
    return (share[:, None, None] * (1 - gate) * sources + gate * activated).sum(0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _traced_product(precision: str, x: jax.Array, weight: jax.Array, trace: jax.Array) -> jax.Array:
  """Returns the product of x and the weight. The gradient of the product goes to `trace`, which is not read, and none to the weight."""
  return product(x, weight, precision)


def _traced_forward(precision: str, x: jax.Array, weight: jax.Array, trace: jax.Array) -> tuple[jax.Array, jax.Array]:
  return product(x, weight, precision), weight


def _traced_backward(precision: str, weight: jax.Array, g: jax.Array) -> tuple[jax.Array, None, jax.Array]:
  return product(g, weight.T, precision), None, g


_traced_product.defvjp(_traced_forward, _traced_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _over_time(
  wiring: Wiring, weights: Sequence[jax.Array], projected: jax.Array, hidden: jax.Array, length: jax.Array, masks: Masks | None
) -> tuple[jax.Array, jax.Array]:
  """Runs a cell without context, that of a derived network, over a sequence (`Wiring.over_time`).

  The gradient of a weight is one product over all time steps. Within the loop it would be a sum of products of few rows each. Every time
  step would read and write all of it.
  """
  return wiring.over_time(weights, None, projected, hidden, length, masks, None)[0]


def _over_time_forward(
  wiring: Wiring, weights: Sequence[jax.Array], projected: jax.Array, hidden: jax.Array, length: jax.Array, masks: Masks | None
) -> tuple[tuple[jax.Array, jax.Array], Any]:
  counts = [1, *(len(wiring.edges.sources(node)) for node in range(1, wiring.num_nodes + 1))]
  traces = tuple(jnp.zeros((len(projected), count, *projected.shape[1:]), projected.dtype) for count in counts)

  def run(traces: Sequence[jax.Array], projected: jax.Array, hidden: jax.Array) -> Any:
    return wiring.over_time(weights, traces, projected, hidden, length, masks, None)

  outputs, pull_back, factors = jax.vjp(run, traces, projected, hidden, has_aux=True)
  return outputs, (pull_back, factors)


def _over_time_backward(wiring: Wiring, residuals: Any, cotangents: tuple[jax.Array, jax.Array]) -> tuple[Any, ...]:
  pull_back, factors = residuals
  traced, projected, hidden = pull_back(cotangents)

  def gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    return product(x.reshape(-1, x.shape[-1]).T, g.reshape(-1, g.shape[-1]), wiring.precision)

  return tuple(map(gradient, factors, traced)), projected, hidden, None, None


_over_time.defvjp(_over_time_forward, _over_time_backward)


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> nnx.Param:
  """Returns a weight drawn from U(-0.04, 0.04), on the host."""
  return nnx.Param(on_device(rng.uniform(-INIT_RANGE, INIT_RANGE, shape)))


def _masked(x: jax.Array, masks: Masks | None) -> jax.Array:
  return x if masks is None else x * jnp.broadcast_to(masks.hidden, x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _fan_out(x: jax.Array, uses: int) -> tuple[jax.Array, ...]:
  """Returns one copy of a state per use, so that the gradients of the uses, [B, H] each, are summed in one place.

  The sum is a product with ones, which XLA does not fuse. XLA would repeat a plain sum of eight in each of the many kernels that read it.
  """
  return (x,) * uses


def _fan_out_forward(x: jax.Array, uses: int) -> tuple[tuple[jax.Array, ...], None]:
  return (x,) * uses, None


def _fan_out_backward(uses: int, _: None, gradients: tuple[jax.Array, ...]) -> tuple[jax.Array]:
  return (jnp.einsum("ubh,u->bh", jnp.stack(gradients), jnp.ones(uses)),)


_fan_out.defvjp(_fan_out_forward, _fan_out_backward)


def _highway(gates: jax.Array, hidden: jax.Array) -> jax.Array:
  gate, x = jnp.split(gates, 2, -1)
  return hidden + jax.nn.sigmoid(gate) * (jnp.tanh(x) - hidden)


def _normalized(x: jax.Array) -> jax.Array:
  """Returns a state [B, H], normalized over the batch."""
  return (x - x.mean(0)[None]) * jax.lax.rsqrt(x.var(0) + BATCH_NORM_EPSILON)[None]
