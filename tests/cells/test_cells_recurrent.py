"""The recurrent cell: against a plain NumPy loop, and its derivatives against differences, both in float64.

Axes: T time, B batch, I input features, H units.
"""

import dataclasses

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from dnas.cells.activations import ACTIVATIONS
from dnas.cells.darts_recurrent import INIT_RANGE, SPACE, Masks, RecurrentCell, _fan_out
from dnas.cells.functional import Variables, apply, split
from dnas.cells.registries import LANGUAGE_GENOTYPES, SPACES
from dnas.core.genotype import CellGenotype, Edge, parse
from dnas.core.space import NONE, CellSpace
from dnas.nets.edges import DiscreteActivations
from dnas.supernet.edges import MixedActivations

T, B, I, H = 4, 3, 2, 5  # noqa: E741
EPSILON = 1e-5
SMALL = dataclasses.replace(SPACE, num_nodes=3)  # for derivatives, whose compilation takes long
ONE_NODE = dataclasses.replace(SPACE, num_nodes=1)  # a supernet with one edge a node, like a derived network
TWO_EDGES = CellGenotype(((Edge("tanh", 0),), (Edge("relu", 0), Edge("sigmoid", 1))), (1, 2))
WIRINGS = {"supernet": SPACE} | {name: LANGUAGE_GENOTYPES[name]["recurrent"] for name in LANGUAGE_GENOTYPES}

every_wiring = pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS)
run = quick_jit(apply, static_argnums=0)


def sigmoid(x):
  return (1 + np.tanh(x / 2)) / 2


FUNCTIONS = {"tanh": np.tanh, "relu": lambda x: x * (x > 0), "sigmoid": sigmoid, "identity": lambda x: x}


# A cell and what it is given.


def cell_of(wiring: CellSpace | CellGenotype, norm: bool) -> RecurrentCell:
  if isinstance(wiring, CellSpace):
    edges, num_nodes = MixedActivations(wiring), wiring.num_nodes
  else:
    edges, num_nodes = DiscreteActivations(wiring), len(wiring.nodes)
  return RecurrentCell(edges, num_nodes, wiring.concat, I, H, norm, np.random.default_rng(0))


def drawn(variables: Variables, masked: bool, dtype: type = np.float64) -> tuple[Variables, np.ndarray, np.ndarray, Masks | None]:
  """Weights far from their initial values; inputs, a hidden state, and masks with zeros in them."""
  rng = np.random.default_rng(1)
  weights = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(dtype), variables.weights)
  inputs, hidden = rng.normal(size=(T, B, I)).astype(dtype), rng.normal(size=(B, H)).astype(dtype)
  masks = Masks(*((rng.random((B, size)) < 0.6).astype(dtype) / 0.6 for size in (I, H)))
  return Variables(weights, {}), inputs, hidden, masks if masked else None


def mixture_of(wiring: CellSpace | CellGenotype, dtype: type = np.float64) -> np.ndarray | None:
  if isinstance(wiring, CellGenotype):
    return None
  edges, operations = wiring.arch_shape()
  return np.random.default_rng(2).dirichlet(np.ones(operations), edges).astype(dtype)


def terms_of(wiring: CellSpace | CellGenotype) -> list[list[tuple[int, str, float]]]:
  """Returns for every node its (source, activation, weight)."""
  if isinstance(wiring, CellGenotype):
    return [[(source, name, 1.0) for name, source in node] for node in wiring.nodes]
  rows, nodes = iter(mixture_of(wiring)), []
  for node in range(1, wiring.num_nodes + 1):
    nodes.append([(source, name, p) for source in range(node) for name, p in zip(wiring.operations, next(rows), strict=True)])
  return nodes


def looped(wiring, norm, variables, inputs, hidden, length, masks):
  """The published cell, one element of the formulas at a time; returns the outputs that count and the hidden state."""
  initial, weights = variables.weights["initial"], variables.weights["nodes"]
  m_x, m_h = masks or (np.ones((B, I)), np.ones((B, H)))

  def normalized(s):
    return (s - s.mean(0)) / np.sqrt(s.var(0) + EPSILON) if norm else s

  outputs = []
  for t in range(length):
    gates = np.concatenate([inputs[t] * m_x, hidden * m_h], -1) @ initial
    states = [normalized(hidden + sigmoid(gates[:, :H]) * (np.tanh(gates[:, H:]) - hidden))]
    for node, terms in enumerate(terms_of(wiring)):
      s = np.zeros((B, H))
      for source, name, p in terms:
        if name != NONE:
          gates = (states[source] * m_h) @ weights[node]
          s += p * (states[source] + sigmoid(gates[:, :H]) * (FUNCTIONS[name](gates[:, H:]) - states[source]))
      states.append(normalized(s))
    hidden = np.mean([states[state] for state in wiring.concat], 0)
    outputs.append(hidden)
  return np.array(outputs), hidden


CASES = {"plain": (False, False), "masked": (False, True), "norm": (True, False), "norm masked": (True, True)}


@every_wiring
@pytest.mark.parametrize("norm, masked", CASES.values(), ids=CASES)
def test_cell_is_the_loop(x64, wiring, norm, masked):
  network, variables = split(cell_of(wiring, norm))
  variables, inputs, hidden, masks = drawn(variables, masked)
  mixture = mixture_of(wiring)
  for length in (T, T - 2, 1):
    (outputs, last), _ = run(network, variables, inputs, hidden, length, masks, mixture)
    expected, expected_last = looped(wiring, norm, variables, inputs, hidden, length, masks)
    assert outputs.shape == (T, B, H) and np.isfinite(outputs).all()
    np.testing.assert_allclose(outputs[:length], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(last, expected_last, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", [False, True])
def test_normalized_states_are_in_the_middle_of_their_batch(x64, norm):
  network, variables = split(cell_of(SMALL, norm))
  variables, inputs, hidden, _ = drawn(variables, False)
  (outputs, _), stats = run(network, variables, inputs, hidden, T, None, mixture_of(SMALL))
  assert (np.abs(np.asarray(outputs).mean(1)).max() < 1e-12) == norm and not stats


@pytest.mark.parametrize("norm", [False, True])
def test_padding_is_as_if_it_were_not_there(x64, norm):
  network, variables = split(cell_of(SMALL, norm))
  variables, inputs, hidden, masks = drawn(variables, True)
  padded = np.concatenate([inputs[:2], np.full((T - 2, B, I), 1e3)])
  full = run(network, variables, padded, hidden, 2, masks, mixture_of(SMALL))
  short = run(network, variables, inputs[:2], hidden, 2, masks, mixture_of(SMALL))
  for one, two in zip(jax.tree.leaves(((full[0][0][:2], full[0][1]), full[1])), jax.tree.leaves(short), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_two_windows_are_one(x64):
  """The hidden state after a window is all that the next one needs."""
  network, variables = split(cell_of(SMALL, True))
  variables, inputs, hidden, _ = drawn(variables, False)
  whole, last = run(network, variables, inputs, hidden, T, None, mixture_of(SMALL))[0]
  first, between = run(network, variables, inputs, hidden, 1, None, mixture_of(SMALL))[0]
  rest = np.concatenate([inputs[1:], inputs[:1]])
  second, end = run(network, variables, rest, between, T - 1, None, mixture_of(SMALL))[0]
  np.testing.assert_allclose(np.concatenate([first[:1], second[: T - 1]]), whole, rtol=1e-12)
  np.testing.assert_allclose(end, last, rtol=1e-12)


# Derivatives.


def scalar(network, differentiated, rest):
  """A loss that every output which counts and the last hidden state have a part in."""
  weights, inputs, hidden, mixture = differentiated
  (outputs, last), _ = apply(network, Variables(weights, {}), inputs, hidden, *rest, mixture)
  counts = (jnp.arange(T) < rest[0])[:, None, None]
  return (jnp.where(counts, jnp.sin(3 * outputs), 0) * jnp.arange(1.0, H + 1)[None, None]).sum() + jnp.square(last).sum()


gradient_of = quick_jit(jax.grad(scalar, 1), static_argnums=0)
product_of = quick_jit(
  lambda network, at, rest, direction: jax.jvp(lambda x: jax.grad(scalar, 1)(network, x, rest), (at,), (direction,))[1],
  static_argnums=0,
)


@pytest.mark.parametrize(
  "wiring, norm",
  [(SMALL, True), (SMALL, False), (ONE_NODE, True), (WIRINGS["DARTS_V2"], False), (TWO_EDGES, False)],
  ids=["norm", "plain", "one node", "DARTS_V2", "two edges"],
)
def test_gradient_is_the_limit_of_differences(x64, wiring, norm):
  network, variables = split(cell_of(wiring, norm))
  variables, inputs, hidden, masks = drawn(variables, True)
  rest = (T - 1, masks)
  at = variables.weights, inputs, hidden, mixture_of(wiring)
  gradient, unflatten = jax.flatten_util.ravel_pytree(gradient_of(network, at, rest))
  x = jax.flatten_util.ravel_pytree(at)[0]

  values = quick_jit(lambda points: jax.lax.map(lambda point: scalar(network, unflatten(point), rest), points))
  numeric = (values(x[None] + 1e-6 * jnp.eye(x.size)) - values(x[None] - 1e-6 * jnp.eye(x.size))) / 2e-6
  np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-8 * np.abs(numeric).max())
  weights, inputs, hidden, mixture = unflatten(np.asarray(gradient))
  assert np.abs(np.asarray(inputs[: T - 1])).max() > 0.1 and not np.asarray(inputs[T - 1 :]).any()  # padding has no part
  assert np.asarray(hidden).any() and all(np.asarray(weight).any() for weight in weights["nodes"])
  if wiring is SMALL:
    assert not np.asarray(mixture[:, 0]).any() and np.asarray(mixture[:, 1:]).all()  # `none` adds nothing


def test_second_derivative_is_the_limit_of_differences_of_gradients(x64):
  network, variables = split(cell_of(SMALL, True))
  variables, inputs, hidden, masks = drawn(variables, True)
  rest = (T - 1, masks)
  at = variables.weights, inputs, hidden, mixture_of(SMALL)
  rng = np.random.default_rng(3)
  direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), at)
  product = product_of(network, at, rest, direction)
  ends = [jax.tree.map(lambda x, d, sign=sign: x + sign * 1e-7 * d, at, direction) for sign in (1, -1)]
  above, below = (gradient_of(network, end, rest) for end in ends)
  numeric = jax.tree.map(lambda a, b: (a - b) / 2e-7, above, below)
  for exact, difference in zip(jax.tree.leaves(product), jax.tree.leaves(numeric), strict=True):
    np.testing.assert_allclose(exact, difference, rtol=1e-4, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize("uses", [1, 2, 8])
def test_gradients_of_all_uses_are_summed(uses):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(B, H)), jnp.float32)
  factors = np.arange(1.0, uses + 1).astype(np.float32)

  def loss(x):
    return sum(factor * (copy**2).sum() for factor, copy in zip(factors, _fan_out(x, uses), strict=True))

  assert all((copy == x).all() for copy in _fan_out(x, uses)) and len(_fan_out(x, uses)) == uses
  np.testing.assert_allclose(jax.grad(loss)(x), 2 * factors.sum() * x, rtol=1e-6)
  (_, second) = jax.jvp(jax.grad(loss), (x,), (jnp.ones_like(x),))
  np.testing.assert_allclose(second, np.full((B, H), 2 * factors.sum()), rtol=1e-6)


UNREAD = CellGenotype(((Edge("tanh", 0),), (Edge("relu", 0),), (Edge("identity", 1), Edge("sigmoid", 1))), (3,))


def test_a_node_may_go_unread_and_read_a_state_twice(x64):
  """Node 2 has no part in the output: its weights have no gradient, and all is as in the loop."""
  network, variables = split(cell_of(UNREAD, False))
  variables, inputs, hidden, _ = drawn(variables, False)
  (outputs, _), _ = run(network, variables, inputs, hidden, T, None, None)
  expected, _ = looped(UNREAD, False, variables, inputs, hidden, T, None)
  np.testing.assert_allclose(outputs, expected, rtol=1e-10)
  weights, *_ = gradient_of(network, (variables.weights, inputs, hidden, None), (T, None))
  assert [bool(np.asarray(weight).any()) for weight in weights["nodes"]] == [True, False, True]


# Types and initial values.


@pytest.mark.parametrize("norm", [False, True])
def test_all_is_float32_and_nothing_compiles_twice(norm):
  network, variables = split(cell_of(SPACE, norm))
  variables, inputs, hidden, masks = drawn(variables, True, np.float32)
  chex.clear_trace_counter()

  @quick_jit
  @chex.assert_max_traces(n=1)
  def traced(length: jax.Array):
    return apply(network, variables, inputs, hidden, length, masks, mixture_of(SPACE, np.float32))

  for length in (T, 2):
    result = traced(np.int32(length))
    assert all(leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
  assert len(jax.tree.leaves(result)) == 2


def test_initial_weights_are_the_published_ones():
  cell = RecurrentCell(MixedActivations(SPACE), 8, SPACE.concat, 40, 60, True, np.random.default_rng(0))
  assert cell.initial.shape == (100, 120) and cell.nodes.shape == (8, 60, 120)
  for leaf in (cell.initial[...], cell.nodes[...]):
    assert leaf.dtype == jnp.float32 and np.abs(leaf).max() <= INIT_RANGE == 0.04
    assert np.std(leaf) == pytest.approx(0.04 / np.sqrt(3), rel=0.02) and abs(np.mean(leaf)) < 1e-3


# Activations.


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_are_functions_of_every_element(name):
  x = np.array([[-100.0, -2.0, -0.5], [0.0, 0.5, 100.0]], np.float32)
  value = ACTIVATIONS[name](jnp.asarray(x))
  assert value.shape == x.shape and value.dtype == jnp.float32
  np.testing.assert_allclose(value, FUNCTIONS[name](x.astype(np.float64)), rtol=1e-6, atol=1e-30)
  for extreme in (-1e30, 0.0, 1e30):
    assert np.isfinite(ACTIVATIONS[name](jnp.float32(extreme))) and np.isfinite(jax.grad(ACTIVATIONS[name])(jnp.float32(extreme)))


def test_the_space_of_darts():
  assert SPACES["darts_recurrent"] is SPACE and SPACE.arch_shape() == (36, 5)
  assert SPACE.operations == ("none", "tanh", "relu", "sigmoid", "identity") and SPACE.concat == tuple(range(1, 9))
  assert set(SPACE.operations) - {NONE} == set(ACTIVATIONS) and NONE not in ACTIVATIONS


# Published cells.

PRINTED = {
  "ENAS": ("tanh0 tanh1 relu1 tanh3 tanh3 relu3 relu4 relu7 relu8 relu8 relu8", (2, 5, 6, 9, 10, 11)),
  "DARTS_V1": ("relu0 relu1 tanh2 relu3 relu4 identity1 relu5 relu1", tuple(range(1, 9))),
  "DARTS_V2": ("sigmoid0 relu1 relu1 identity1 tanh2 sigmoid5 tanh3 relu5", tuple(range(1, 9))),
  "NAONet": ("relu0 relu0 relu1 tanh3 relu4 relu4 relu5 relu1 relu7 relu1 identity1", tuple(range(1, 12))),
}


def test_the_published_cells_are_these():
  assert set(LANGUAGE_GENOTYPES) == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_published_cells_are_as_the_papers_print_them(name):
  genotype, (nodes, concat) = LANGUAGE_GENOTYPES[name], PRINTED[name]
  assert genotype.space == SPACE.name and SPACE.validate(genotype) is genotype
  cell = genotype["recurrent"]
  assert [f"{operation}{source}" for ((operation, source),) in cell.nodes] == nodes.split() and cell.concat == concat
  assert SPACE.parse(str(genotype)) == genotype == parse(genotype.to_json())
  if name == "ENAS":
    assert set(concat) == set(range(1, 12)) - {source for ((_, source),) in cell.nodes}  # the mean of what no node reads
