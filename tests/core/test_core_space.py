"""Spaces: the order of the edges, and uniform samples that are networks of the space."""

import collections
import itertools

import numpy as np
import pytest

from dnas.core.space import NONE, CellSpace

SPACE = CellSpace("conv", ("normal", "reduce"), (NONE, "skip_connect", "sep_conv_3x3", "max_pool_3x3"), num_nodes=3)
RECURRENT = CellSpace("rnn", ("recurrent",), (NONE, "tanh", "relu"), num_inputs=1, num_nodes=3, edges_per_node=1)


def test_edges_go_target_by_target_and_source_by_source():
  assert SPACE.edges == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4))
  assert RECURRENT.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  darts, rnn = CellSpace("d", ("n",), ("o",) * 8), CellSpace("r", ("r",), ("o",) * 5, 1, 8, 1)
  assert darts.arch_shape() == (14, 8) and rnn.arch_shape() == (36, 5)  # the published shapes
  assert darts.concat == (2, 3, 4, 5) and rnn.concat == tuple(range(1, 9))


@pytest.mark.parametrize("space", [SPACE, RECURRENT])
def test_samples_are_valid(space: CellSpace):
  rng = np.random.default_rng(0)
  for _ in range(50):
    genotype = space.sample(rng)
    assert space.validate(genotype) is genotype and genotype.space == space.name
    assert [name for name, _ in genotype.cells] == list(space.cells)
    for _, cell in genotype.cells:
      assert cell.concat == space.concat and len(cell.nodes) == space.num_nodes
      for node in cell.nodes:
        sources = [source for _, source in node]
        assert len(node) == space.edges_per_node and sources == sorted(set(sources))
        assert all(type(source) is int for source in sources) and NONE not in [operation for operation, _ in node]


def test_a_node_with_few_states_reads_them_all():
  space = CellSpace("s", ("c",), ("o",), num_inputs=1, num_nodes=3, edges_per_node=3)
  nodes = space.sample(np.random.default_rng(0))["c"].nodes
  assert [len(node) for node in nodes] == [1, 2, 3]


def test_samples_repeat_with_the_seed():
  first, second, other = (SPACE.sample(np.random.default_rng(seed)) for seed in (1, 1, 2))
  assert first == second != other


def _chi_square(counts: list[int]) -> float:
  expected = sum(counts) / len(counts)
  return sum((count - expected) ** 2 for count in counts) / expected


def test_samples_are_uniform():
  rng = np.random.default_rng(0)
  pairs, operations, joint = collections.Counter(), collections.Counter(), collections.Counter()
  for _ in range(1200):
    genotype = SPACE.sample(rng)
    last = genotype["normal"].nodes[-1]
    pairs[tuple(source for _, source in last)] += 1
    operations[tuple(operation for operation, _ in last)] += 1
    joint[genotype["normal"].nodes[0][0].operation, genotype["reduce"].nodes[0][0].operation] += 1
  assert set(pairs) == set(itertools.combinations(range(4), 2))
  for counter, size in ((pairs, 6), (operations, 9), (joint, 9)):  # operations of two edges, and of two cells, are independent
    assert len(counter) == size
    assert _chi_square(list(counter.values())) < 26.1  # the 99.9 % quantile at 8 degrees of freedom
