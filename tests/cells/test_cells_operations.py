"""Every operation against a float64 reference of its own, edge by edge and image by image, with SciPy's correlation.

Axes: E edges, B batch, H height, W width, C channels. All sizes differ, and the height and the channels are odd.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from scipy.signal import correlate2d

from dnas.cells import blocks, pooling
from dnas.cells.functional import Variables, apply, split
from dnas.cells.operations import OPERATIONS, OperationStack
from dnas.core import tree

E, B, H, W, C = 2, 4, 5, 6, 3
LAYERS = {f"sep_conv_{k}x{k}": ((k, 1), (k, 1)) for k in (3, 5, 7)} | {f"dil_conv_{k}x{k}": ((k, 2),) for k in (3, 5)}
POOLS = ("max_pool_3x3", "avg_pool_3x3")
NAMES = ("avg_pool_3x3", "sep_conv_3x3", "conv_7x1_1x7", "dil_conv_5x5", "skip_connect", "sep_conv_7x7", "none", "max_pool_3x3")
NAMES += ("dil_conv_3x3", "sep_conv_5x5")
ALONE = ("max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3", "conv_7x1_1x7", "skip_connect")
run = quick_jit(apply, static_argnums=0, static_argnames="train")


class Norm(NamedTuple):
  """One edge's batch normalization: `moved` are its running statistics after a batch in training."""

  mean: np.ndarray
  variance: np.ndarray
  scale: np.ndarray | float
  bias: np.ndarray | float
  moved: tuple[np.ndarray, np.ndarray] | None = None


class Edge(NamedTuple):
  """One edge of one operation: kernels in the order in which they are applied, normalizations likewise."""

  kernels: list[np.ndarray]
  norms: list[Norm]


class Case(NamedTuple):
  names: tuple[str, ...]
  stride: int
  affine: bool
  train: bool
  variables: Variables
  outputs: dict[str, jax.Array]
  stats: Any


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(np.float32)


IMAGES = draw((B, H, W, C))


def randomized(variables: Variables) -> Variables:
  """Moves scales, biases and running statistics away from zero and one, where mistakes hide."""
  rng = np.random.default_rng(1)
  tweak = functools.partial(jax.tree.map, lambda leaf: np.asarray(leaf) + rng.uniform(0.1, 0.9, leaf.shape).astype(np.float32))
  return Variables(tweak(variables.weights), tweak(variables.stats))


@functools.cache
def case(stride: int, affine: bool, train: bool) -> Case:
  """All operations on all edges as one stack."""
  network, variables = split(OperationStack(NAMES, E, C, stride, affine, np.random.default_rng(0), pool_norm=not affine))
  variables = randomized(variables)
  outputs, stats = run(network, variables, IMAGES, train=train)
  return Case(NAMES, stride, affine, train, variables, outputs, stats)


def norm_of(weights: dict, stats: dict, moved: dict, row: int) -> Norm:
  trained = [np.asarray(weights[name][row], np.float64) for name in ("scale", "bias")] if "scale" in weights else [1.0, 0.0]
  running = [np.asarray(stats[name][row], np.float64) for name in ("mean", "variance")]
  return Norm(*running, *trained, (np.asarray(moved["mean"][row]), np.asarray(moved["variance"][row])))


def edge_of(c: Case, name: str, edge: int) -> Edge:
  """Finds what belongs to one edge of one operation among the stacked weights."""
  weights, stats = c.variables.weights, c.variables.stats
  if name in POOLS:
    row = [pool for pool in c.names if pool in POOLS].index(name)
    return Edge([], [] if c.affine else [norm_of({}, stats["pool_norm"], c.stats["pool_norm"], row)])
  kernels, norms = [], []
  if name in LAYERS:
    for depth in range(len(LAYERS[name])):
      names = [other for other in c.names if len(LAYERS.get(other, ())) > depth]
      position = names.index(name)
      layer, row = weights["layers"][depth], edge * len(names) + position
      kernels += [layer["depthwise"][position][edge], layer["pointwise"][row]]
      norms.append(norm_of(layer.get("norm", {}), stats["layers"][depth]["norm"], c.stats["layers"][depth]["norm"], row))
  elif name in weights.get("others", {}):
    own = weights["others"][name]
    kernels = [own[part][edge] for part in (("even", "odd") if name == "skip_connect" else ("row", "column"))]
    norms = [norm_of(own.get("norm", {}), stats["others"][name]["norm"], c.stats["others"][name]["norm"], edge)]
  return Edge([np.asarray(kernel, np.float64) for kernel in kernels], norms)


# The reference: one edge, [B, H, W, C] in float64.


def relu(x: np.ndarray) -> np.ndarray:
  return np.where(x > 0, x, 0)


def normalized(x: np.ndarray, norm: Norm, train: bool) -> np.ndarray:
  """Normalizes; in training it also checks the running statistics."""
  mean, variance = norm.mean, norm.variance
  if train:
    flat = x.reshape(-1, x.shape[-1])
    mean, variance = flat.mean(0), flat.var(0)
    np.testing.assert_allclose(norm.moved[0], 0.9 * norm.mean + 0.1 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moved[1], 0.9 * norm.variance + 0.1 * flat.var(0, ddof=1), rtol=1e-4, atol=1e-5)
  else:
    np.testing.assert_array_equal(norm.moved[0], norm.mean.astype(np.float32))
    np.testing.assert_array_equal(norm.moved[1], norm.variance.astype(np.float32))
  return (x - mean) / np.sqrt(variance + 1e-5) * norm.scale + norm.bias


def correlated(x: np.ndarray, kernel: np.ndarray, stride: tuple[int, int]) -> np.ndarray:
  """Correlates [B, H, W, C] with [h, w, C, D], same padding with zeros, and keeps every stride-th pixel."""
  out = np.zeros((*x.shape[:3], kernel.shape[-1]))
  for b, c, d in np.ndindex(x.shape[0], *kernel.shape[2:]):
    out[b, :, :, d] += correlate2d(x[b, :, :, c], kernel[:, :, c, d], "same")
  return out[:, :: stride[0], :: stride[1]]


def depthwise(x: np.ndarray, kernel: np.ndarray, stride: int, dilation: int) -> np.ndarray:
  k = kernel.shape[0]
  spread = np.zeros(((k - 1) * dilation + 1,) * 2 + (C, C))
  spread[::dilation, ::dilation, np.arange(C), np.arange(C)] = kernel
  return correlated(x, spread, (stride, stride))


def separable(x: np.ndarray, edge: Edge, layers: tuple, stride: int, train: bool) -> np.ndarray:
  for depth, (size, dilation) in enumerate(layers):
    kernel, mix = edge.kernels[2 * depth : 2 * depth + 2]
    assert kernel.shape == (size, size, C)
    x = normalized(depthwise(relu(x), kernel, stride if depth == 0 else 1, dilation) @ mix, edge.norms[depth], train)
  return x


def pooled(x: np.ndarray, stride: int, pool: Any) -> np.ndarray:
  """Pools the part of every window that lies inside the image."""
  rows, columns = range(0, x.shape[1], stride), range(0, x.shape[2], stride)
  return np.stack([np.stack([pool(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2], axis=(1, 2)) for j in columns], 1) for i in rows], 1)


def factorized_reduction(x: np.ndarray, edge: Edge, train: bool) -> np.ndarray:
  """Even pixels by one product, the pixels one down and one right of them by another; outside the image there are zeros."""
  rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
  padded = np.zeros((x.shape[0], 2 * rows, 2 * columns, x.shape[3]))
  padded[:, : x.shape[1], : x.shape[2]] = relu(x)
  out = [
    np.concatenate([padded[:, 2 * i, 2 * j] @ edge.kernels[0], padded[:, 2 * i + 1, 2 * j + 1] @ edge.kernels[1]], -1)
    for i, j in np.ndindex(rows, columns)
  ]
  return normalized(np.stack(out, 1).reshape(x.shape[0], rows, columns, -1), edge.norms[0], train)


def reference(name: str, x: np.ndarray, edge: Edge, stride: int, train: bool) -> np.ndarray:
  if name in LAYERS:
    return separable(x, edge, LAYERS[name], stride, train)
  if name in POOLS:
    out = pooled(x, stride, np.max if name.startswith("max") else np.mean)
    return normalized(out, edge.norms[0], train) if edge.norms else out
  if name == "skip_connect":
    return x if stride == 1 else factorized_reduction(x, edge, train)
  if name == "conv_7x1_1x7":
    row, column = edge.kernels
    assert row.shape == (1, 7, C, C) and column.shape == (7, 1, C, C)
    return normalized(correlated(correlated(relu(x), row, (1, stride)), column, (stride, 1)), edge.norms[0], train)
  assert name == "none"
  return np.zeros_like(x[:, ::stride, ::stride])


def close(found: Any, expected: np.ndarray):
  assert found.dtype == jnp.float32 and found.shape == expected.shape
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# Operations.


@pytest.mark.parametrize(("stride", "affine", "train"), [(1, False, True), (2, True, True), (1, True, False), (2, False, False)])
@pytest.mark.parametrize("name", NAMES)
def test_operation_is_the_reference(name: str, stride: int, affine: bool, train: bool):
  c = case(stride, affine, train)
  output = c.outputs[name]
  assert len(output) in ((E,) if edge_of(c, name, 0).kernels else (1, E)) and set(c.outputs) == set(NAMES)
  for edge in range(E):
    expected = reference(name, IMAGES.astype(np.float64), edge_of(c, name, edge), stride, train)
    close(output[edge % len(output)], expected)


def test_the_references_are_of_operations_that_exist():
  assert set(NAMES) <= set(OPERATIONS) and set(LAYERS) | set(POOLS) < set(NAMES)


def test_several_edges_are_the_same_edges_one_by_one():
  together, variables = split(OperationStack(ALONE, E, C, 2, True, np.random.default_rng(0)))
  alone, _ = split(OperationStack(ALONE, 1, C, 2, True, np.random.default_rng(0)))
  variables = randomized(variables)
  outputs, stats = run(together, variables, IMAGES, train=True)

  def rows(leaf: np.ndarray, edge: int) -> np.ndarray:
    """Returns the edge's rows of a stack over operations and edges, which stand edge by edge."""
    return leaf.reshape(E, -1, *leaf.shape[1:])[edge]

  for edge in range(E):
    own = jax.tree.map(lambda leaf, edge=edge: rows(leaf, edge), variables)
    output, moved = run(alone, own, IMAGES, train=True)
    for name in ALONE:
      close(output[name][0], np.asarray(outputs[name][edge % len(outputs[name])]))
    for found, expected in zip(jax.tree.leaves(moved), jax.tree.leaves(stats), strict=True):
      close(found, np.asarray(rows(expected, edge)))


COUNTS = {name: sum(k * k * C + C * C for k, _ in layers) for name, layers in LAYERS.items()} | {"conv_7x1_1x7": 14 * C * C}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_parameter_count(name: str, stride: int):
  count = COUNTS.get(name, C * C if name == "skip_connect" and stride == 2 else 0)
  norms = len(LAYERS.get(name, (None,))) if count else 0
  sizes = {}
  for affine in (False, True):
    _, variables = split(OperationStack((name,), E, C, stride, affine, np.random.default_rng(0), pool_norm=not affine))
    sizes[affine] = tree.size(variables.weights)
    assert tree.size(variables.stats) == 2 * C * (E * norms if name not in POOLS else not affine)
  assert sizes == {False: E * count, True: E * (count + norms * 2 * C)}


def test_nothing_is_trained_in_pools():
  for affine in (False, True):
    network, variables = split(OperationStack(POOLS, E, C, 1, affine, np.random.default_rng(0)))
    assert not jax.tree.leaves(variables.weights)
    outputs, _ = run(network, variables, IMAGES, train=True)
    assert {name: len(output) for name, output in outputs.items()} == dict.fromkeys(POOLS, 1)  # one pooling for all edges


def test_weights_are_drawn_as_pytorch_draws_them():
  _, variables = split(OperationStack(NAMES, 8, 9, 2, False, np.random.default_rng(0)))
  weights = variables.weights
  fans = [(weights["layers"][0]["pointwise"], 9), (weights["layers"][1]["pointwise"], 9)]
  fans += [(weights["others"]["conv_7x1_1x7"][part], 63) for part in ("row", "column")]
  fans += [(weights["others"]["skip_connect"][part], 9) for part in ("even", "odd")]
  fans += [(kernel, kernel.shape[1] ** 2) for layer in weights["layers"].values() for kernel in layer["depthwise"].values()]
  for kernel, fan_in in fans:
    scaled = np.sort(np.ravel(kernel)) * np.sqrt(fan_in)
    assert np.abs(scaled - np.linspace(-1, 1, scaled.size)).max() < 4 / np.sqrt(scaled.size)  # close to the uniform quantiles


# Blocks and pools by themselves.


@pytest.mark.parametrize("block", [blocks.ReluConvBN, blocks.FactorizedReduce])
@pytest.mark.parametrize("size", [(5, 6), (6, 5), (4, 4), (1, 1)])
def test_blocks_bring_inputs_to_channels(block: type, size: tuple[int, int]):
  x, channels = draw((E, B, *size, C), 2), 5
  network, variables = split(block(E, C, channels, True, np.random.default_rng(0)))
  variables = randomized(variables)
  output, stats = run(network, variables, x, train=True)
  shared, _ = run(network, variables, x[:1], train=True)
  names = ("even", "odd") if block is blocks.FactorizedReduce else ("kernel",)
  for e in range(E):
    norm = norm_of(variables.weights["norm"], variables.stats["norm"], stats["norm"], e)
    edge = Edge([np.asarray(variables.weights[name][e], np.float64) for name in names], [norm])
    if block is blocks.FactorizedReduce:
      assert [kernel.shape for kernel in edge.kernels] == [(C, 2), (C, 3)]
      expected = factorized_reduction(x[e].astype(np.float64), edge, True)
    else:
      expected = normalized(relu(x[e].astype(np.float64)) @ edge.kernels[0], norm, True)
    if size != (1, 1):  # there a variance over four numbers may be tiny
      close(output[e], expected)
  close(shared[0], np.asarray(output[0]))
  assert shared.shape == output.shape


def test_dense_convolution_of_stems():
  x = draw((B, H, W, C), 3)
  for kernel, stride, padding in (((3, 3), 1, 1), ((5, 5), 2, 2)):
    network, variables = split(blocks.Conv(C, 4, kernel, np.random.default_rng(0), stride, padding))
    output, _ = run(network, variables, x)
    close(output, correlated(x.astype(np.float64), np.asarray(variables.weights["kernel"], np.float64), (stride, stride)))


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_batch_norm_far_from_zero(offset: float):
  """PyTorch errs by 1e-3 at a mean of 1,000 deviations in its one memory format, and by 4e-5 in the other; here 3e-5."""
  network, variables = split(blocks.BatchNorm(1, C, False))
  x = draw((1, 16, 8, 8, C)) + np.float32(offset)
  output, stats = run(network, variables, x, train=True)
  wide = x.astype(np.float64)
  mean, variance = wide.mean((0, 1, 2, 3)), wide.var((0, 1, 2, 3))
  np.testing.assert_allclose(output, (wide - mean) / np.sqrt(variance + 1e-5), atol=1e-5 + 1e-7 * offset)
  np.testing.assert_allclose(stats["variance"][0], 0.9 + 0.1 * variance * 1024 / 1023, rtol=1e-4)
  of_batch = dataclasses.replace(variables, stats={"mean": mean[None].astype(np.float32), "variance": variance[None].astype(np.float32)})
  np.testing.assert_allclose(run(network, of_batch, x, train=False)[0], output, atol=1e-4 + 1e-7 * offset)


def test_batch_norm_of_one_number_keeps_a_finite_variance():
  network, variables = split(blocks.BatchNorm(1, C, True))
  output, stats = run(network, variables, draw((1, 1, 1, 1, C)), train=True)
  assert np.isfinite(output).all() and np.isfinite(stats["variance"]).all() and (stats["variance"] >= 0).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("pool", "kind"), [(pooling.max_pool, np.max), (pooling.avg_pool, np.mean)])
def test_gradients_of_pools(pool: Any, kind: Any, stride: int):
  x = draw((1, 1, H, 4, 1), 4)
  g = draw((1, *pooled(x[0], stride, kind).shape), 5)
  found = quick_jit(jax.grad(lambda x: jnp.vdot(pool(x, stride), g)))(x)
  expected = np.zeros(x.shape)
  for place in np.ndindex(*x.shape):  # piecewise linear, so a short step gives the derivative
    step = np.zeros(x.shape)
    step[place] = 1e-4
    expected[place] = np.vdot(pooled(x[0] + step[0], stride, kind) - pooled(x[0] - step[0], stride, kind), g[0]) / 2e-4
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pools_ignore_what_is_outside_the_image():
  x = jnp.full((1, 1, 3, 3, 1), -7.0)
  for pool in (pooling.max_pool, pooling.avg_pool):
    np.testing.assert_allclose(quick_jit(pool, static_argnums=1)(x, 1), x, rtol=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalization_has_the_derivatives_of_its_formula(affine: bool):
  x, g, v = (draw((E, B, H, W, C), seed) + 3 for seed in range(3))
  scale, bias = (draw((E, C), 3), draw((E, C), 4)) if affine else (None, None)

  def by_formula(x, scale, bias):
    centered = x - x.mean((1, 2, 3), keepdims=True)
    out = centered / jnp.sqrt(jnp.square(centered).mean((1, 2, 3), keepdims=True) + 1e-5)
    return out if scale is None else out * scale[:, None, None, None] + bias[:, None, None, None]

  def ours(x, scale, bias):
    return blocks._normalize_by_batch(x, scale, bias)[0]

  results = []
  for normalize in (ours, by_formula):
    trained = (0, 1, 2) if affine else (0,)
    gradient = jax.grad(lambda x, scale, bias, f=normalize: (f(x, scale, bias) * g + f(x, scale, bias) ** 3).sum(), trained)
    second = jax.jvp(lambda x, gradient=gradient: gradient(x, scale, bias)[0], (x,), (v,))[1]
    results.append(jax.tree.leaves((normalize(x, scale, bias), gradient(x, scale, bias), second)))
  for found, expected in zip(*results, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
