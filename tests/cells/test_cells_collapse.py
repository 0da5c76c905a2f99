"""The spaces S1 to S4: their sizes, the operations of their edges, and noise that all passes of a step share."""

import itertools

import jax
import numpy as np
import pytest

from dnas.cells.collapse import COLLAPSE_SPACES
from dnas.cells.functional import Variables, apply, split
from dnas.cells.operations import OperationStack
from dnas.cells.registries import SPACES, STACKS
from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.search.gradient.methods import METHODS
from dnas.supernet.discretize import discretize
from dnas.supernet.relaxations import everything, restrict

S1, S2, S3, S4 = COLLAPSE_SPACES
every_space = pytest.mark.parametrize("space", COLLAPSE_SPACES, ids=lambda space: space.name)


def allowed(space, cell_type, edge):
  """Returns the operations of an edge as the paper lists them."""
  if space is not S1:
    return ("noise" if space is S4 else "skip_connect", "sep_conv_3x3")
  short = {"sk": "skip_connect", "d3": "dil_conv_3x3", "d5": "dil_conv_5x5", "s3": "sep_conv_3x3"}
  short |= {"mp": "max_pool_3x3", "ap": "avg_pool_3x3"}
  listed = {
    "normal": "sk d3|sk d5|sk d5|sk s3|sk d3|mp sk|sk s3|sk s3|sk d3|sk s3|mp sk|sk d3|d3 d5|d3 d5",
    "reduce": "mp ap|mp d3|mp ap|mp ap|sk d5|mp ap|mp s3|sk d3|sk d5|mp ap|mp ap|sk d5|sk d5|sk d5",
  }
  return tuple(short[word] for word in listed[cell_type].split("|")[space.edges.index(edge)].split())


@every_space
def test_every_edge_has_the_two_operations_of_the_paper(space):
  assert space.name in SPACES and space.name in STACKS and len(space.edges) == 14
  for cell_type, edge in itertools.product(space.cells, space.edges):
    assert sorted(space.choices_of(cell_type, edge)) == sorted(allowed(space, cell_type, edge))
  wirings = 1 * 3 * 6 * 10  # two sources of 2, 3, 4 and 5 states
  assert np.prod(space.decisions, dtype=float) == (wirings * 2**8) ** 2


@every_space
def test_no_architecture_has_an_operation_that_its_edge_may_not_have(space):
  rng = np.random.default_rng(0)
  first = space.sample(rng)
  found = [space.sample(rng) for _ in range(20)] + [space.mutate(first, rng) for _ in range(20)] + list(space.neighbours(first))
  found += [discretize(space, {cell: rng.random(space.arch_shape()) for cell in space.cells}) for _ in range(10)]
  for genotype in found:
    assert space.validate(genotype) and space.decode(space.encode(genotype)) == space.decode(space.encode(space.parse(genotype.to_json())))
    for cell_type, cell in genotype.cells:
      for target, node in enumerate(cell.nodes, start=2):
        assert all(operation in allowed(space, cell_type, (source, target)) for operation, source in node)


def test_what_an_edge_may_not_have_is_refused_and_masked():
  genotype = S1.parse(S1.sample(np.random.default_rng(0)).to_json().replace("dil_conv_5x5", "max_pool_3x3"))
  with pytest.raises(InputError, match="unknown operation 'max_pool_3x3'"):
    S1.validate(genotype)
  masks = everything(S1)
  assert all((masks[cell].sum(1) == 2).all() and masks[cell].shape == (14, 6) for cell in S1.cells)
  assert masks["normal"][0].tolist() == [name in ("skip_connect", "dil_conv_3x3") for name in S1.operations]


@pytest.mark.parametrize(
  "choices, hint",
  [
    ((("a",),), "give a tuple for each of 1 cells, with one for each of 3 edges"),
    ((("a", "b"), ("a", "b"), ("a",)), "give every edge equally many different ones of a, b"),
    ((("a", "c"), ("a", "b"), ("a", "b")), "give every edge equally many different ones of a, b"),
    ((("a", "a"), ("a", "b"), ("a", "b")), "give every edge equally many different ones of a, b"),
  ],
)
def test_choices_of_edges_that_do_not_fit_are_refused(choices, hint):
  with pytest.raises(InputError, match=f"edge_choices.*{hint}"):
    CellSpace("own", ("c",), ("a", "b"), num_inputs=1, num_nodes=2, edge_choices=(choices,))


@pytest.mark.parametrize("wrong", [(), 5, ((None,) * 3,), [[["a"], ["b"], ["a"]]], ((["a"], ["b"], ["a"]),), (("a", "b", "a"),)])
def test_choices_of_another_type_are_refused(wrong):
  with pytest.raises(InputError, match="edge_choices"):
    CellSpace("own", ("c",), ("a", "b"), num_inputs=1, num_nodes=2, edge_choices=wrong)


def test_a_genotype_of_another_space_is_neither_changed_nor_listed():
  other = S2.sample(np.random.default_rng(0))
  for change in (S1.neighbours, lambda genotype: S1.mutate(genotype, np.random.default_rng(0))):
    with pytest.raises(InputError, match="is not an architecture of space 'darts_s1'"):
      change(other)


def test_operations_that_some_edges_lack_cannot_be_left_out():
  with pytest.raises(InputError, match="without skip_connect some edges would have fewer operations than others"):
    S1.without(["skip_connect"])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_forbidden_operation_no_weight_and_an_allowed_one_its_own(name):
  """GDAS mixed all allowed operations evenly where it had drawn a forbidden one."""
  relaxation = METHODS[name]().relaxation(S1)
  arch, masks = relaxation.init(S1, jax.random.key(0), 1e-3), everything(S1)
  for seed in range(5):
    drawn = restrict(relaxation(relaxation.restricted(arch, masks), jax.random.key(seed), 0.5), masks)
    for cell in S1.cells:
      weights = np.asarray(drawn[cell])
      assert not weights[masks[cell] == 0].any() and np.isfinite(weights).all()
      if name == "gdas":
        np.testing.assert_allclose(np.sort(weights, -1)[:, -2:], [[0, 1]] * 14, atol=1e-6)
      if name == "fair_darts":
        np.testing.assert_allclose(weights[masks[cell] > 0], 0.5, atol=1e-2)


def test_all_passes_of_a_step_see_the_same_noise_and_the_next_step_another_one():
  network, variables = split(OperationStack(("noise",), 2, 4, 2, False, np.random.default_rng(0)))
  images = np.random.default_rng(1).normal(size=(3, 6, 6, 4)).astype(np.float32)
  first, stats = apply(network, variables, images, train=True)
  again, _ = apply(network, variables, 2 * images, train=True)
  later, _ = apply(network, Variables(variables.weights, stats), images, train=True)
  noise = np.asarray(first["noise"])
  np.testing.assert_array_equal(noise, again["noise"])
  assert noise.shape == (2, 3, 3, 3, 4) and not np.array_equal(noise, later["noise"]) and not np.array_equal(noise[0], noise[1])
  assert abs(noise.mean()) < 0.3 and abs(noise.std() - 1) < 0.2
