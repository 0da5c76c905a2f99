"""From architecture parameters to a genotype: the softmax, the ranking of edges and operations, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells.darts_conv import SPACE
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import CellSpace
from dnas.supernet import relaxations
from dnas.supernet.discretize import discretize, one_hot

OPERATIONS = ("none", "conv", "pool")
SMALL = CellSpace("small", ("normal",), OPERATIONS, num_nodes=2)  # rows: 0-2, 1-2; 0-3, 1-3, 2-3
KEY, PROGRESS = jax.random.key(0), jnp.float32(0)


def nodes_of(rows, space=SMALL):
  genotype = discretize(space, {"normal": np.array(rows, np.float32)})
  assert genotype.space == space.name and genotype["normal"].concat == space.concat
  return genotype["normal"].nodes


def small_genotype(first, second):
  return Genotype("small", (("normal", CellGenotype((tuple(first), tuple(second)), (2, 3))),))


FIRST = [[0.2, 0.5, 0.3], [0.2, 0.4, 0.4]]


def test_the_strongest_operation_counts_and_not_the_rest():
  """quark0/darts issue 45: {none .4, conv .5, pool .1} is a stronger edge than {none .3, conv .35, pool .35}."""
  nodes = nodes_of(FIRST + [[0.3, 0.35, 0.35], [0.4, 0.5, 0.1], [0.3, 0.3, 0.4]])
  assert nodes[1] == (("conv", 1), ("pool", 2))


def test_edges_come_strongest_first():
  assert nodes_of(FIRST + [[0.4, 0.5, 0.1], [0.9, 0.05, 0.05], [0.1, 0.3, 0.6]])[1] == (("pool", 2), ("conv", 0))
  assert nodes_of([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]] + 3 * [[0, 0.5, 0.5]])[0] == (("pool", 1), ("conv", 0))


def test_the_second_best_operation_of_a_strong_edge_is_no_edge():
  assert nodes_of(FIRST + [[0.0, 0.51, 0.49], [0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])[1] == (("conv", 0), ("conv", 1))


def test_ties_go_to_the_earlier_source_and_the_earlier_operation():
  assert nodes_of(5 * [[0.2, 0.4, 0.4]]) == ((("conv", 0), ("conv", 1)), (("conv", 0), ("conv", 1)))
  assert nodes_of(FIRST + [[0.6, 0.2, 0.2], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3]])[1] == (("conv", 1), ("conv", 2))


def test_none_is_never_chosen_and_gives_no_strength():
  nodes = nodes_of(FIRST + [[0.98, 0.01, 0.01], [0.5, 0.2, 0.3], [0.96, 0.01, 0.03]])
  assert nodes[1] == (("pool", 1), ("pool", 2))
  only_none = nodes_of(5 * [[1.0, 0.0, 0.0]])
  assert {edge.operation for node in only_none for edge in node} == {"conv"}


def test_none_may_stand_anywhere_or_nowhere():
  last = CellSpace("last", ("normal",), ("conv", "pool", "none"), num_nodes=1)
  assert nodes_of([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], last) == ((("conv", 1), ("pool", 0)),)
  without = CellSpace("without", ("normal",), ("conv", "pool"), num_nodes=1)
  assert nodes_of([[0.1, 0.9], [0.6, 0.4]], without) == ((("pool", 0), ("conv", 1)),)
  genotype = discretize(without, {"normal": np.array([[0.1, 0.9], [0.6, 0.4]])})
  assert one_hot(without, genotype)["normal"].tolist() == [[0, 1], [1, 0]]


def test_one_edge_to_a_node():
  chain = CellSpace("chain", ("normal",), OPERATIONS, num_inputs=1, num_nodes=2, edges_per_node=1)
  assert nodes_of([[0.0, 0.4, 0.6], [0.4, 0.5, 0.1], [0.3, 0.3, 0.4]], chain) == ((("pool", 0),), (("conv", 0),))


def test_rows_of_the_published_space():
  """Row 12 is the edge from node 4 to node 5, row 9 that from node 0; columns are in the published order."""
  mixture = {cell: np.full((14, 8), 0.1) for cell in SPACE.cells}
  mixture["reduce"][12, SPACE.operations.index("dil_conv_5x5")] = 0.3
  mixture["reduce"][9, SPACE.operations.index("max_pool_3x3")] = 0.2
  genotype = discretize(SPACE, mixture)
  assert SPACE.edges[12] == (3, 5) and SPACE.edges[9] == (0, 5)
  assert genotype["reduce"].nodes[3] == (("dil_conv_5x5", 3), ("max_pool_3x3", 0))
  assert genotype["normal"].nodes[3] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))


def test_the_softmax_with_none_ranks_edges_otherwise_than_the_raw_parameters():
  arch = {"normal": jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [3.0, 2.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.5, 0.9]])}
  mixture = relaxations.to_numpy(relaxations.Relaxation()(arch, KEY, PROGRESS))
  raw = relaxations.to_numpy(arch)
  assert discretize(SMALL, raw)["normal"].nodes[1] == (("conv", 0), ("conv", 1))
  assert discretize(SMALL, mixture)["normal"].nodes[1] == (("conv", 1), ("pool", 2))
  without_none = {"normal": jax.nn.softmax(arch["normal"][:, 1:], -1)}
  no_none = CellSpace("small", ("normal",), OPERATIONS[1:], num_nodes=2)
  assert discretize(no_none, relaxations.to_numpy(without_none))["normal"].nodes[1] == (("conv", 0), ("conv", 1))


@pytest.mark.parametrize("seed", range(10))
def test_one_hot_and_discretize_are_inverse(seed):
  genotype = SPACE.sample(np.random.default_rng(seed))
  mixture = one_hot(SPACE, genotype)
  assert discretize(SPACE, mixture) == genotype
  for weights in mixture.values():
    assert weights.dtype == np.float32 and weights.shape == SPACE.arch_shape() and (weights.sum(1) == 1).all()
    assert (weights[:, 0] == 0).sum() == 8  # two edges to each of four nodes; `none` everywhere else


@pytest.mark.parametrize("seed", range(5))
def test_discretize_then_one_hot_keeps_the_choices(seed):
  rng = np.random.default_rng(seed)
  mixture = {cell: rng.dirichlet(np.ones(8), 14).astype(np.float32) for cell in SPACE.cells}
  genotype = SPACE.validate(discretize(SPACE, mixture))
  again = discretize(SPACE, one_hot(SPACE, genotype))
  for cell in SPACE.cells:
    assert [set(node) for node in again[cell].nodes] == [set(node) for node in genotype[cell].nodes]


def test_one_hot_by_hand():
  genotype = small_genotype([Edge("pool", 1), Edge("conv", 0)], [Edge("conv", 2), Edge("conv", 0)])
  assert one_hot(SMALL, genotype)["normal"].tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_one_hot_of_a_node_that_reads_a_state_twice():
  genotype = small_genotype([Edge("pool", 1), Edge("conv", 1)], [Edge("conv", 2), Edge("conv", 2)])
  assert one_hot(SMALL, genotype)["normal"].tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0], [1, 0, 0], [0, 2, 0]]


# Relaxations.


def test_softmax_by_hand():
  arch = {"normal": jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]])), "reduce": jnp.zeros((2, 4))}
  mixture = relaxations.Relaxation()(arch, KEY, PROGRESS)
  np.testing.assert_allclose(mixture["normal"], [[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]], rtol=1e-6)
  np.testing.assert_allclose(mixture["reduce"], np.full((2, 4), 0.25))


def test_softmax_is_pure_and_safe():
  arch = {"normal": jnp.array([[1000.0, 0.0, -1000.0]])}
  mixture = relaxations.Relaxation()(arch, KEY, PROGRESS)["normal"]
  assert mixture.tolist() == [[1, 0, 0]]
  later = relaxations.Relaxation()(arch, jax.random.key(1), jnp.float32(0.9))["normal"]
  assert later.tolist() == mixture.tolist()
  derivative = jax.grad(lambda arch: relaxations.Relaxation()(arch, KEY, PROGRESS)["normal"][0, 0])({"normal": jnp.zeros((1, 3))})
  np.testing.assert_allclose(derivative["normal"], [[2 / 9, -1 / 9, -1 / 9]], rtol=1e-6)


def test_initial_arch():
  arch = relaxations.Relaxation().init(SPACE, KEY, 1e-3)
  assert {cell: (values.shape, values.dtype) for cell, values in arch.items()} == dict.fromkeys(SPACE.cells, ((14, 8), jnp.float32))
  values = np.stack([arch[cell] for cell in SPACE.cells])
  assert 0.8e-3 < values.std() < 1.2e-3 and abs(values.mean()) < 2e-4
  assert not (values[0] == values[1]).any() and np.unique(values).size == values.size
  again, other = relaxations.Relaxation().init(SPACE, KEY, 1e-3), relaxations.Relaxation().init(SPACE, jax.random.key(1), 1e-3)
  assert (np.stack([again[cell] for cell in SPACE.cells]) == values).all()
  assert not (np.stack([other[cell] for cell in SPACE.cells]) == values).any()
  assert not np.stack(list(relaxations.Relaxation().init(SPACE, KEY, 0.0).values())).any()


def test_to_numpy_copies_to_the_host():
  host = relaxations.to_numpy({"normal": jnp.ones((2, 3))})
  assert isinstance(host["normal"], np.ndarray) and host["normal"].tolist() == [[1, 1, 1], [1, 1, 1]]
