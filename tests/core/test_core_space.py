"""Spaces: the order of the edges, and uniform samples that are networks of the space."""

import collections
import itertools
import math

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, CellSpace

SPACE = CellSpace("conv", ("normal", "reduce"), (NONE, "skip_connect", "sep_conv_3x3", "max_pool_3x3"), num_nodes=3)
RECURRENT = CellSpace("rnn", ("recurrent",), (NONE, "tanh", "relu"), num_inputs=1, num_nodes=3, edges_per_node=1)


def test_edges_go_target_by_target_and_source_by_source():
  assert SPACE.edges == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4))
  assert RECURRENT.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  darts, rnn = CellSpace("d", ("n",), tuple("abcdefgh")), CellSpace("r", ("r",), tuple("abcde"), 1, 8, 1)
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


COMPLETE = CellSpace("complete", ("c",), (NONE, "a", "b"), num_inputs=1, num_nodes=3, edges_per_node=3, none_allowed=True, num_outputs=1)


def test_none_is_a_choice_where_the_space_allows_it():
  assert SPACE.choices == ("skip_connect", "sep_conv_3x3", "max_pool_3x3") and COMPLETE.choices == (NONE, "a", "b")
  rng = np.random.default_rng(0)
  found = collections.Counter(edge.operation for _ in range(200) for node in COMPLETE.sample(rng)["c"].nodes for edge in node)
  assert set(found) == {NONE, "a", "b"} and _chi_square(list(found.values())) < 13.8  # 99.9 % at 2 degrees of freedom
  assert COMPLETE.concat == (3,)


# Operations of all edges, times the sets of sources of the nodes.
@pytest.mark.parametrize("space, size", [(SPACE, (3**6 * 1 * 3 * 6) ** 2), (RECURRENT, 2**3 * 1 * 2 * 3), (COMPLETE, 3**6)])
def test_decisions_and_architectures_are_inverse(space: CellSpace, size: int):
  assert math.prod(space.decisions) == size
  rng = np.random.default_rng(0)
  for _ in range(50):
    values = tuple(rng.integers(space.decisions).tolist())
    genotype = space.decode(values)
    assert space.validate(genotype) is genotype and space.encode(genotype) == values
    sampled = space.sample(rng)
    assert space.decode(space.encode(sampled)) == sampled


def test_what_the_space_does_not_hold_is_refused():
  for values in ((0,) * 5, (0,) * 7, (0, 0, 0, 0, 0, 3), (0, 0, 0, 0, 0, -1)):
    with pytest.raises(InputError, match="not an architecture of space 'complete'"):
      COMPLETE.decode(values)
  with pytest.raises(InputError, match="not an architecture of space 'rnn'"):
    RECURRENT.encode(COMPLETE.decode((0,) * 6))
  none = CellGenotype(((Edge(NONE, 0),), (Edge("tanh", 0),), (Edge("tanh", 0),)), (1, 2, 3))
  with pytest.raises(InputError, match="not an architecture of space 'rnn'"):
    RECURRENT.encode(Genotype("rnn", (("recurrent", none),)))


def _differing_edges(one: Genotype, other: Genotype) -> int:
  count = 0
  for (_, cell), (_, other_cell) in zip(one.cells, other.cells, strict=True):
    for node, other_node in zip(cell.nodes, other_cell.nodes, strict=True):
      count += len(set(node) - set(other_node))
  return count


@pytest.mark.parametrize("space", [SPACE, RECURRENT, COMPLETE])
def test_neighbours_are_exactly_the_architectures_one_edge_away(space: CellSpace):
  genotype = space.sample(np.random.default_rng(0))
  neighbours = space.neighbours(genotype)
  assert len(set(neighbours)) == len(neighbours) and all(_differing_edges(genotype, other) == 1 for other in neighbours)
  assert all(space.decode(space.encode(other)) == other for other in neighbours)
  if space is COMPLETE:
    everything = map(space.decode, itertools.product(range(3), repeat=6))
    assert set(neighbours) == {other for other in everything if _differing_edges(genotype, other) == 1}
  # An edge has 2 other operations (1 in the recurrent space), and as many other sources as its node leaves unread: 0 + 1 + 2 a node.
  assert len(neighbours) == {"conv": 2 * (6 * 2 + 2 * 1 + 2 * 2), "rnn": 3 * 1 + 0 + 1 + 2, "complete": 6 * 2}[space.name]


@pytest.mark.parametrize("space", [SPACE, RECURRENT, COMPLETE])
def test_a_mutation_is_a_neighbour_and_every_neighbour_can_come(space: CellSpace):
  rng = np.random.default_rng(0)
  genotype = space.sample(rng)
  found = {space.mutate(genotype, rng) for _ in range(1500)}
  assert found == set(space.neighbours(genotype))


def test_a_space_of_one_architecture_has_no_mutation():
  single = CellSpace("single", ("c",), ("o",), num_inputs=1, num_nodes=1, edges_per_node=1)
  with pytest.raises(InputError, match="single architecture"):
    single.mutate(single.sample(np.random.default_rng(0)), np.random.default_rng(0))


def test_operations_are_left_out_of_a_space():
  smaller = SPACE.without(["none", "sep_conv_3x3"])
  assert smaller.operations == ("skip_connect", "max_pool_3x3") and smaller.name == SPACE.name and SPACE.without([]) == SPACE
  genotype = smaller.sample(np.random.default_rng(0))
  assert SPACE.validate(genotype) is genotype and SPACE.decode(SPACE.encode(genotype)) == smaller.decode(smaller.encode(genotype))
  with pytest.raises(InputError, match="unknown operation 'sep_conv'. Did you mean"):
    SPACE.without(["sep_conv"])
  with pytest.raises(InputError, match="space 'conv' has no operations but skip_connect, sep_conv_3x3, max_pool_3x3"):
    SPACE.without(["skip_connect", "sep_conv_3x3", "max_pool_3x3"])


REFUSED = [
  ({"name": ""}, "name is ''; write it with letters"),
  ({"name": "a/b"}, "name is 'a/b'; write it with letters"),
  ({"name": 3}, "name is 3; write it with letters"),
  ({"cells": ()}, r"cells is \(\); give a tuple of names, at least one"),
  ({"cells": "normal"}, "cells is 'normal'; give a tuple of names"),
  ({"cells": ["normal"]}, r"cells is \['normal'\]; give a tuple of names"),
  ({"cells": ("a", "a")}, "'a' is given twice; give it once"),
  ({"cells": ("my cell",)}, "name a cell by a word that does not end in 'concat', and not 'my cell'"),
  ({"cells": ("a_concat",)}, "name a cell by a word that does not end in 'concat', and not 'a_concat'"),
  ({"cells": ("lambda",)}, "name a cell by a word"),
  ({"operations": ()}, r"operations is \(\); give a tuple of names"),
  ({"operations": (NONE,)}, r"operations is \('none',\); a discrete cell has no edge that is 'none'; give it another operation"),
  ({"operations": ("a", "b", "a")}, "'a' is given twice"),
  ({"operations": ("a", 3)}, "give a tuple of names"),
  ({"num_inputs": 0}, "num_inputs is 0; give a whole number, at least 1"),
  ({"num_nodes": 0}, "num_nodes is 0; give a whole number, at least 1"),
  ({"num_nodes": True}, "num_nodes is True; give a whole number"),
  ({"num_nodes": 10**30}, "num_nodes is 10*; a cell of 10*2 states is too large"),
  ({"num_nodes": 60, "edges_per_node": 30}, "edges_per_node is 30; the nodes have .* sets of sources; give fewer"),
  ({"num_nodes": 70, "edges_per_node": 4}, "edges_per_node is 4; the nodes have 13,991,546 sets of sources; give fewer"),
  ({"edges_per_node": 0}, "edges_per_node is 0; give a whole number, at least 1"),
  ({"edges_per_node": 1.5}, "edges_per_node is 1.5; give a whole number"),
  ({"num_outputs": 0}, "num_outputs is 0; give None for all nodes, or a whole number from 1 to 4"),
  ({"num_outputs": 5}, "num_outputs is 5; give None for all nodes, or a whole number from 1 to 4"),
  ({"none_allowed": 1}, "none_allowed is 1; give True or False"),
  ({"pool_norm": None}, "pool_norm is None; give True or False"),
  ({"inputs_in_concat": 2}, "inputs_in_concat is 2; give True or False"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_fields_that_make_no_space(fields, message):
  with pytest.raises(InputError, match=message) as raised:
    CellSpace(**({"name": "mine", "cells": ("c",), "operations": (NONE, "a")} | fields))
  assert str(raised.value).startswith("space ") and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("fields", [{"num_inputs": 1}, {"num_nodes": 1}, {"num_outputs": 4}, {"operations": (NONE,), "none_allowed": True}])
def test_small_spaces_are_spaces(fields):
  space = CellSpace(**({"name": "mine", "cells": ("c",), "operations": (NONE, "a")} | fields))
  found = space.sample(np.random.default_rng(0))
  assert space.validate(space.decode(space.encode(found))) == found


def test_a_cell_may_concatenate_its_inputs_if_its_space_says_so():
  node = (Edge("a", 0), Edge("a", 1))
  for inputs, concat, message in (
    (True, (0, 1, 2), None),
    (True, (2, 3), "cell 'c': concat names state 3; the states are 0 to 2."),
    (True, (-1,), "cell 'c': concat names state -1; the states are 0 to 2."),
    (False, (1, 2), "cell 'c': concat names node 1; the nodes are 2 to 2."),
  ):
    space = CellSpace("mine", ("c",), ("a",), num_nodes=1, inputs_in_concat=inputs)
    found = Genotype("mine", (("c", CellGenotype((node,), concat)),))
    if message is None:
      assert space.validate(found) is found and space.parse(str(found)) == found and space.concat == (2,)
    else:
      with pytest.raises(InputError, match=message):
        space.validate(found)
