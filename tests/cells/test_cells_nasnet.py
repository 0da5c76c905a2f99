"""The operations and the stack of NASNet, AmoebaNet and NAONet against plain NumPy."""

import functools
import zlib

import jax
import jax.numpy as jnp
import nasnet_reference as reference
import numpy as np
import pytest
from helpers import quick_jit

from dnas.cells import blocks, naonet, pooling
from dnas.cells.functional import Variables, apply, split
from dnas.cells.image_stack import Size
from dnas.cells.nasnet_stack import NasnetStack
from dnas.cells.operations import OPERATIONS, OperationStack, changes_channels
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES, STACKS
from dnas.core.errors import FieldError, InputError
from dnas.core.genotype import CellGenotype, Edge
from dnas.core.space import CellSpace
from dnas.nets.edges import DiscreteEdges

SCAFFOLD = [name for name in STACKS if issubclass(STACKS[name], NasnetStack)]
NAMES = sorted({operation for name in SCAFFOLD for operation in SPACES[name].operations})
B, H, W = 3, 7, 6
run = quick_jit(apply, static_argnums=0, static_argnames="train")


def randomized(variables: Variables, seed: int = 0) -> Variables:
  """Moves all weights, so that scales are not 1 and biases not 0."""
  rng = np.random.default_rng(seed)
  weights = jax.tree.map(lambda leaf: np.asarray(leaf) + rng.normal(0, 0.2, leaf.shape).astype(np.float32), variables.weights)
  return Variables(weights, variables.stats)


def close(found: jax.Array, expected: np.ndarray):
  assert found.dtype == jnp.float32 and found.shape == expected.shape
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# Operations. Two edges read one state.


@pytest.mark.parametrize(("stride", "channels_in", "channels"), [(1, 5, 5), (2, 5, 5), (1, 7, 5), (2, 3, 8)])
@pytest.mark.parametrize("name", NAMES)
def test_operation_is_the_reference(name: str, stride: int, channels_in: int, channels: int):
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  network, variables = split(OperationStack((name,), 2, channels, stride, True, rng, channels_in=channels_in))
  variables = randomized(variables)
  x = rng.normal(size=(B, H, W, channels_in)).astype(np.float32)
  outputs, _ = run(network, variables, x, train=True)
  shared = "pool" in name or (name == "identity" and stride == 1)
  assert len(outputs[name]) == (1 if shared and channels_in == channels else 2)
  for edge in range(2):
    close(outputs[name][edge % len(outputs[name])], reference.operation(name, x.astype(np.float64), variables.weights, edge, stride))


def test_a_bottleneck_has_a_quarter_of_the_channels_and_at_least_one():
  for channels, narrow in ((8, 2), (3, 1)):
    module = OperationStack(("bottleneck_conv_3x3",), 1, channels, 1, True, np.random.default_rng(0), channels_in=6)
    _, variables = split(module)
    kernels = variables.weights["others"]["bottleneck_conv_3x3"]["kernels"]
    assert [kernel.shape for kernel in kernels.values()] == [(1, 1, 1, 6, narrow), (1, 3, 3, narrow, narrow), (1, 1, 1, narrow, channels)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [2, 5, 7])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_gradients_of_pools_of_any_window(kind: str, window: int, stride: int):
  pool = {"max": pooling.max_pool, "avg": pooling.avg_pool}[kind]
  rng = np.random.default_rng(window)
  x = rng.normal(size=(1, 1, 5, 4, 1)).astype(np.float32)
  g = rng.normal(size=reference.pooled(x[0], kind, window, stride).shape).astype(np.float32)
  found = quick_jit(jax.grad(lambda x: jnp.vdot(pool(x, stride, window)[0], g)))(x)
  expected = np.zeros(x.shape)
  for place in np.ndindex(*x.shape):  # piecewise linear, so a short step gives the derivative
    step = np.zeros(x.shape)
    step[place] = 1e-4
    higher, lower = (reference.pooled((x + sign * step)[0].astype(np.float64), kind, window, stride) for sign in (1, -1))
    expected[place] = np.vdot(higher - lower, g) / 2e-4
  np.testing.assert_allclose(found, expected, atol=1e-3)


# The stack, with one normal cell a stage.


@pytest.mark.parametrize("name", ["NASNet_A", "AmoebaNet_B", "NAONet"])
def test_stack_is_the_reference(name: str):
  genotype, channels = IMAGE_GENOTYPES[name], 4

  def make_edges(cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator, **channels_in: int) -> DiscreteEdges:
    return DiscreteEdges(genotype[cell_type], source, channels, stride, rng, **channels_in)

  rng = np.random.default_rng(1)
  network, variables = split(STACKS[genotype.space](dict(genotype.cells), make_edges, Size(channels, 5), 3, True, rng))
  variables = randomized(variables)
  images = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
  call = functools.partial(apply, network, contexts=lambda index, cell_type: [None] * 7, train=True)
  outputs, _ = quick_jit(call)(variables, images)
  expected = reference.stack(genotype, images.astype(np.float64), variables.weights, 5)
  widths = [len(genotype[cell_type].concat) for cell_type in ("normal", "reduce", "normal", "reduce", "normal")]
  shapes = [(4, size, size, width * c) for size, width, c in zip((8, 4, 4, 2, 2), widths, (4, 8, 8, 16, 16), strict=True)]
  assert [output.shape for output in outputs] == shapes
  for found, wanted in zip(outputs, expected, strict=True):
    close(found, wanted)
  assert outputs[-1].min() == 0


def pieces(name: str, num_cells: int, multiplier: int = 3):
  genotype = IMAGE_GENOTYPES[name]

  def make_edges(cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator, **channels_in: int) -> DiscreteEdges:
    asked.append((source, channels, stride, channels_in))
    return DiscreteEdges(genotype[cell_type], source, channels, stride, rng, **channels_in)

  asked = []
  stack = STACKS[genotype.space](dict(genotype.cells), make_edges, Size(8, num_cells, multiplier), 3, True, np.random.default_rng(0))
  return stack, asked


def test_the_first_cell_reads_the_stem_itself():
  stack, asked = pieces("AmoebaNet_B", 5)
  first, second, third, *_ = stack.cells
  assert asked[0] == (0, 8, 1, {"channels_in": 24}) and not any(call[3] for call in asked[1:])
  assert first.preprocess0 is None and isinstance(second.preprocess0, blocks.ReluConvBN)
  assert isinstance(third.preprocess0, blocks.FactorizedReduce) and first.projection0 is None  # it concatenates its other input
  assert isinstance(pieces("NASNet_A", 5)[0].cells[0].projection0, blocks.ConvBN)


def test_a_stem_of_the_cells_channels_needs_no_convolution():
  stack, asked = pieces("NASNet_A", 8, 1)
  first, second, *_ = stack.cells
  assert not any(call[3] for call in asked) and first.projection0 is first.preprocess0 is second.preprocess0 is None


@pytest.mark.parametrize(("name", "cells", "auxiliary"), [("NASNet_A", 20, (12, 4)), ("AmoebaNet_B", 5, (2, 4)), ("NAONet", 20, (14, 2))])
def test_the_auxiliary_head_has_its_place(name: str, cells: int, auxiliary: tuple[int, int]):
  place = pieces(name, cells)[0].auxiliary
  assert (place.cell, place.size, place.stride) == (*auxiliary, 3)


def test_a_stack_without_the_place_of_the_head_has_none():
  assert pieces("NASNet_A", 1)[0].auxiliary is pieces("NAONet", 3)[0].auxiliary is None


def test_kernels_begin_with_the_variance_of_their_fan_out():
  stack, _ = pieces("NASNet_A", 5)
  cell = stack.cells[4]
  separable = cell.outgoing[1].operations["sep_conv_5x5"].layers[0]
  wide = OPERATIONS["nor_conv_1x3_3x1"].build(2, 30, 1, True, np.random.default_rng(0))
  blocks.redraw_by_fan_out(wide, np.random.default_rng(0))
  for kernel, fan_out in (
    (stack.stem.kernel, 9 * 24),
    (cell.preprocess1.kernel, 32),
    (separable.depthwise[0], 25),
    (separable.pointwise, 32),
    (wide.kernels[0], 3 * 30),
  ):
    values = np.asarray(kernel[...]) * np.sqrt(fan_out / 2)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * values.size) and abs(values.mean()) < 4 / np.sqrt(values.size)
    assert np.abs(values).max() > 1.8  # the uniform distribution of that variance ends there
  assert (np.asarray(separable.norm.scale[...]) == 1).all() and (np.asarray(separable.norm.bias[...]) == 0).all()


# What cannot be stacked.


def test_a_reduction_cell_cannot_concatenate_an_input():
  cell = CellGenotype(((Edge("identity", 0), Edge("identity", 1)),), (0, 2))
  message = r"^cell 'reduce': concat is \[0, 2\]; it halves the image, so leave out the inputs, 0 and 1\.$"
  with pytest.raises(InputError, match=message):
    NasnetStack({"normal": cell, "reduce": cell}, lambda *args, **options: None, Size(2, 5), 3, True, np.random.default_rng(0))


def test_operations_that_keep_the_channels_do_not_fit_the_first_cell():
  assert all(map(changes_channels, NAMES)) and not any(map(changes_channels, ("skip_connect", "none", "noise", "conv_7x1_1x7")))
  with pytest.raises(FieldError, match="operations is skip_connect, noise; these cannot change the number of channels, as the first cell"):
    NasnetStack.check_space(CellSpace("mine", ("normal",), ("identity", "skip_connect", "noise")))
  with pytest.raises(FieldError, match="inputs_in_concat is True; cells of this stack concatenate nodes alone"):
    STACKS["darts_conv"].check_space(SPACES["nasnet_a"])


# Published cells.


def test_the_published_string_of_naonet():
  """As the PyTorch version writes cells: (state, operation) of every edge. In one node of its reduction cell the inputs are swapped."""
  text = "0 7 1 15 2 8 1 7 0 6 1 7 0 8 4 7 1 5 0 7 | 0 7 1 13 0 6 0 14 0 9 1 10 0 14 2 6 1 11 0 7"
  names = "sep_conv_3x3 sep_conv_5x5 avg_pool_3x3 max_pool_3x3 identity identity nor_conv_1x1 nor_conv_3x3 nor_conv_1x3_3x1".split()
  names += [f"{name}_{size}x{size}" for name, size in (("max_pool", 2), ("max_pool", 3), ("max_pool", 5))]
  names = [*names[:9], "nor_conv_1x7_7x1", *names[9:], *(f"avg_pool_{size}x{size}" for size in (2, 3, 5))]
  for cell_type, part in zip(("normal", "reduce"), text.split("|"), strict=True):
    numbers = list(map(int, part.split()))
    edges = [(names[number], source) for source, number in zip(numbers[::2], numbers[1::2], strict=True)]
    ours = [tuple(edge) for node in IMAGE_GENOTYPES["NAONet"][cell_type].nodes for edge in node]
    swapped = [index for index, (one, other) in enumerate(zip(edges, ours, strict=True)) if one != other]
    assert swapped == ([4, 5] if cell_type == "reduce" else [])
    assert all(edges[index][0] == ours[index][0] and edges[index][1] == 1 - ours[index][1] for index in swapped)
  assert set(names) == set(naonet.SPACE.operations)
