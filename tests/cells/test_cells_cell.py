"""The wiring of cells and stacks, with edges that multiply by known numbers, against a plain walk over the graph."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import quick_jit

from dnas.cells import darts_conv
from dnas.cells.darts_conv import Cell
from dnas.cells.functional import apply, split
from dnas.cells.image_stack import ImageStack, Size, reduction_indices
from dnas.cells.operations import OPERATIONS
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core.genotype import CellGenotype, Edge, parse
from dnas.core.space import CellSpace

SPACE = CellSpace("stub", ("normal", "reduce"), ("double", "third", "minus"), num_nodes=3)
FACTORS = {"double": 2.0, "third": 1 / 3, "minus": -1.0}
B, H, W, C = 2, 4, 6, 2
run = quick_jit(apply, static_argnums=0, static_argnames="train")


def outgoing(wiring: CellGenotype | CellSpace, source: int) -> list[tuple[int, float]]:
  """Returns (target, factor) for every edge that leaves a state; in a space the factor names the edge."""
  if isinstance(wiring, CellSpace):
    return [(target, target + origin / 10) for origin, target in wiring.edges if origin == source]
  return [(2 + index, FACTORS[name]) for index, node in enumerate(wiring.nodes) for name, origin in node if origin == source]


class Multiples(nnx.Module):
  """Edges that multiply by a number and by the context of their state."""

  def __init__(self, edges: list[tuple[int, float]], stride: int):
    self.edges, self.stride = tuple(edges), stride

  def __call__(self, x: jax.Array, context: jax.Array, train: bool) -> dict[int, jax.Array]:
    x, out = x[:, :: self.stride, :: self.stride] * context, {}
    for target, factor in self.edges:
      out[target] = out.get(target, 0.0) + factor * x
    return out


def factory(wirings: dict, calls: list):
  def make_edges(cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator) -> Multiples:
    calls.append((cell_type, source, channels, stride))
    return Multiples(outgoing(wirings[cell_type], source), stride)

  return make_edges


def walked(wiring: CellGenotype | CellSpace, inputs: list[np.ndarray], contexts: np.ndarray, reduction: bool) -> np.ndarray:
  """Visits the nodes in order and pulls from every earlier state."""
  states = list(inputs)
  for node in range(2, 2 + (wiring.num_nodes if isinstance(wiring, CellSpace) else len(wiring.nodes))):
    total = 0
    for source in range(node):
      stride = 2 if reduction and source < 2 else 1
      for target, factor in outgoing(wiring, source):
        if target == node:
          total = total + factor * contexts[source] * states[source][:, ::stride, ::stride]
    states.append(total)
  return np.concatenate([states[state] for state in wiring.concat], -1)


def sampled(seed: int, concat: tuple[int, ...]) -> CellGenotype:
  return CellGenotype(SPACE.sample(np.random.default_rng(seed))["normal"].nodes, concat)


@pytest.mark.parametrize(("reduction", "input_reduced"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("wiring", [SPACE, sampled(0, (2, 3, 4)), sampled(1, (4, 2))], ids=["space", "all nodes", "two nodes"])
def test_cell_is_a_walk_over_its_graph(wiring: CellGenotype | CellSpace, reduction: bool, input_reduced: bool):
  calls, rng = [], np.random.default_rng(3)
  make_edges = factory({"normal": wiring}, calls)
  cell = Cell("normal", wiring, make_edges, (3, 5), C, reduction, input_reduced, True, np.random.default_rng(0))
  assert calls == [("normal", source, C, 2 if reduction and source < 2 else 1) for source in range(5)]
  input0 = rng.normal(size=(B, H * (1 + input_reduced), W * (1 + input_reduced), 3)).astype(np.float32)
  input1 = rng.normal(size=(B, H, W, 5)).astype(np.float32)
  contexts = rng.uniform(0.5, 2, 5).astype(np.float32)
  network, variables = split(cell)
  output, _ = run(network, variables, input0, input1, list(contexts), train=True)
  # The blocks before the wiring have tests of their own.
  inputs = []
  for block, x in ((cell.preprocess0, input0), (cell.preprocess1, input1)):
    (state,), _ = run(*split(block), x[None], train=True)
    assert state.shape == (B, H, W, C)
    inputs.append(np.asarray(state, np.float64))
  expected = walked(wiring, inputs, contexts, reduction)
  assert cell.multiplier == len(wiring.concat)
  assert output.shape == expected.shape == (B, H // (1 + reduction), W // (1 + reduction), C * cell.multiplier)
  np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


def test_unread_states_and_doubled_edges_are_fine():
  pairs = ((("double", 0), ("double", 0)), (("third", 1), ("minus", 1)), (("minus", 0), ("third", 0)))
  wiring = CellGenotype(tuple(tuple(Edge(*edge) for edge in node) for node in pairs), (4, 2))
  cell = Cell("normal", wiring, factory({"normal": wiring}, []), (C, C), C, False, False, True, np.random.default_rng(0))
  x = np.random.default_rng(0).normal(size=(B, H, W, C)).astype(np.float32)
  output, _ = run(*split(cell), x, x, [1.0] * 5, train=True)
  (state,), _ = run(*split(cell.preprocess0), x[None], train=True)
  np.testing.assert_allclose(output[..., C:], 4 * state, rtol=1e-5)
  np.testing.assert_allclose(output[..., :C], -2 / 3 * state, rtol=1e-5)


# Stacks of cells.


@pytest.mark.parametrize(("num_cells", "positions"), [(2, (0, 1)), (3, (1, 2)), (5, (1, 3)), (8, (2, 5)), (14, (4, 9)), (20, (6, 13))])
def test_reductions_stand_at_one_and_two_thirds(num_cells: int, positions: tuple[int, int]):
  assert reduction_indices(num_cells) == positions


def build(num_cells: int, channels: int, concats: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[ImageStack, list]:
  wirings, calls = {"normal": sampled(0, concats[0]), "reduce": sampled(1, concats[1])}, []
  rng = np.random.default_rng(0)
  return ImageStack(wirings, factory(wirings, calls), Size(channels, num_cells), 1, False, rng), calls


def test_channels_double_and_images_halve_at_reductions():
  stack, calls = build(8, 4, ((2, 3, 4), (4, 2)))
  assert stack.cell_types == ("normal", "normal", "reduce", "normal", "normal", "reduce", "normal", "normal")
  channels = [4, 4, 8, 8, 8, 16, 16, 16]
  assert stack.widths == tuple(count * (2 if index in (2, 5) else 3) for index, count in enumerate(channels))
  assert [call[2] for call in calls[::5]] == channels and [call[0] for call in calls[::5]] == list(stack.cell_types)
  network, variables = split(stack)
  asked = []

  def contexts(index: int, cell_type: str) -> list[float]:
    asked.append((index, cell_type))
    return [1.0] * 5

  call = functools.partial(apply, network, contexts=contexts, train=True)
  outputs, _ = jax.eval_shape(call, variables, jnp.zeros((2, 9, 12, 1)))
  sizes = [(9, 12)] * 2 + [(5, 6)] * 3 + [(3, 3)] * 3
  assert [output.shape for output in outputs] == [(2, *size, width) for size, width in zip(sizes, stack.widths, strict=True)]
  assert asked == list(enumerate(stack.cell_types))


def test_a_stack_chains_its_cells():
  stack, _ = build(3, 2, ((2, 3, 4), (4, 2)))
  network, variables = split(stack)
  images = np.random.default_rng(1).normal(size=(B, 4, 4, 1)).astype(np.float32)

  def contexts(index: int) -> list[float]:
    return [1.0 + index, 0.5, 1.0, 2.0, 1.0]

  call = functools.partial(apply, network, contexts=lambda index, cell_type: contexts(index), train=True)
  outputs, _ = quick_jit(call)(variables, images)
  stem, _ = run(*split(stack.stem), images)
  (stem,), _ = run(*split(stack.stem_norm), stem[None], train=True)
  states = [stem, stem]
  for index, cell in enumerate(stack.cells):
    state, _ = run(*split(cell), states[-2], states[-1], contexts(index), train=True)
    states.append(state)
  assert len(outputs) == 3
  for output, state in zip(outputs, states[2:], strict=True):
    np.testing.assert_allclose(output, state, rtol=1e-4, atol=1e-4)


def test_a_stack_of_one_cell_reduces_once():
  stack, _ = build(1, 2, ((2,), (4, 2)))
  assert stack.cell_types == ("reduce",) and stack.widths == (8,)


@pytest.mark.parametrize("affine", [True, False])
def test_affine_is_for_the_cells_and_the_stem_always_has_it(affine: bool):
  wirings = {"normal": SPACE, "reduce": SPACE}
  stack = ImageStack(wirings, factory(wirings, []), Size(2, 2), 1, affine, np.random.default_rng(0))
  assert stack.stem_norm.scale is not None
  for cell in stack.cells:
    for block in (cell.preprocess0, cell.preprocess1):
      assert (block.norm.scale is not None) == affine == (block.norm.bias is not None)


# Published cells.


@pytest.mark.parametrize("name", list(IMAGE_GENOTYPES))
def test_published_cells_are_networks_of_their_space(name: str):
  genotype = IMAGE_GENOTYPES[name]
  space = SPACES[genotype.space]
  assert space.validate(genotype) is genotype
  for _, cell in genotype.cells:
    assert len(cell.nodes) == space.num_nodes and all(len(node) == space.edges_per_node for node in cell.nodes)
    assert all(operation in OPERATIONS for node in cell.nodes for operation, _ in node)
    read = {source for node in cell.nodes for _, source in node}
    unread = set(space.concat) - read
    assert cell.concat == space.concat or set(cell.concat) == unread or (space.inputs_in_concat and set(cell.concat) > unread)
  assert space.parse(str(genotype)) == genotype == parse(genotype.to_json())


PRINTED = {
  "DARTS_V1": ("sep3 1 sep3 0 skip 0 sep3 1 skip 0 sep3 1 sep3 0 skip 2", "max 0 max 1 skip 2 max 0 max 0 skip 2 skip 2 avg 0"),
  "DARTS_V2": ("sep3 0 sep3 1 sep3 0 sep3 1 sep3 1 skip 0 skip 0 dil3 2", "max 0 max 1 skip 2 max 1 max 0 skip 2 skip 2 max 1"),
}


@pytest.mark.parametrize("name", PRINTED)
def test_published_cells_are_as_the_papers_print_them(name: str):
  for cell_type, printed in zip(("normal", "reduce"), PRINTED[name], strict=True):
    edges = [(operation, source) for node in IMAGE_GENOTYPES[name][cell_type].nodes for operation, source in node]
    words = [word for operation, source in edges for word in (operation, str(source))]
    for long, short in (("skip_connect", "skip"), ("_pool_3x3", ""), ("_conv_3x3", "3"), ("_conv_5x5", "5")):
      words = [word.replace(long, short) for word in words]
    assert " ".join(words) == printed


def test_the_space_of_darts():
  assert SPACES["darts_conv"] is darts_conv.SPACE and darts_conv.SPACE.arch_shape() == (14, 8)
  order = "none max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5"
  assert darts_conv.SPACE.operations == tuple(order.split())
  assert all(name in OPERATIONS for space in SPACES for name in SPACES[space].operations if SPACES[space].cells == ("normal", "reduce"))
