"""The image network of every architecture of a subspace of NAS-Bench-201: one program, whose argument is the architecture.

The operation of an edge is chosen by `jax.lax.switch`, so only that one is computed, and no architecture is compiled anew. The network is
the one that `derived_image.DerivedImageNetwork` builds for the architecture; a test gives both the same weights. Edges that are no
convolution keep kernels that nothing reads.

A convolution is a matrix product here, since XLA's own convolutions take 3 to 7 times as long on a CPU at a few channels. The kernel
is spread over a matrix that maps the pixels of an image, or of three of its rows, to those of the output.

Axes: B batch, H height, W width, C channels in, D channels out.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dnas.cells import nasbench201
from dnas.cells.blocks import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from dnas.cells.functional import Variables
from dnas.cells.nasbench201_stack import STAGES
from dnas.core.genotype import Genotype

SPACE = nasbench201.SPACE.without(["nor_conv_1x1", "avg_pool_3x3"])
"""The space: `none`, `skip_connect` or `nor_conv_3x3` on each of six edges, so 729 architectures."""

Tree = Any
_LARGEST_IMAGE = 4
"""Images of at most this height are convolved by one matrix; larger ones row by row, as their matrix would be mostly zeros."""


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The sizes of the network.

  Attributes:
    channels: channels of the first stage; every later stage has twice as many.
    cells: cells of each of the three stages.
    image: height and width of the images, which are grey; a multiple of four.
    classes: number of classes.
  """

  channels: int
  cells: int
  image: int = 8
  classes: int = 10

  @property
  def stages(self) -> tuple[tuple[int, int], ...]:
    """Returns (channels, height) of every stage."""
    return tuple((self.channels * 2**stage, self.image // 2**stage) for stage in range(STAGES))


def encode(genotype: Genotype) -> np.ndarray:
  """Returns the architecture as the network takes it: the number of every edge's operation, int32 [edges]. Raises InputError."""
  return np.array(SPACE.encode(genotype), np.int32)


def init(sizes: Sizes, rng: np.random.Generator) -> Variables:
  """Draws the weights of all edges, whatever the architecture, by the rule of `blocks.uniform`."""

  def kernel(*shape: int) -> np.ndarray:
    bound = 1 / np.sqrt(np.prod(shape[-4:-1]))
    return rng.uniform(-bound, bound, shape).astype(np.float32)

  def norm(*shape: int) -> tuple[Tree, Tree]:
    zeros, ones = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    return {"scale": ones, "bias": zeros}, {"mean": zeros, "variance": ones}

  def layer(kernel: np.ndarray, *shape: int) -> tuple[Tree, Tree]:
    weights, stats = norm(*shape)
    return {"kernel": kernel, **weights}, stats

  weights, stats = {}, {}
  weights["stem"], stats["stem"] = layer(kernel(3, 3, 1, sizes.channels), sizes.channels)
  for stage, (channels, _) in enumerate(sizes.stages):
    if stage:
      first, second = (layer(kernel(3, 3, given, channels), channels) for given in (channels // 2, channels))
      weights[f"reduction_{stage}"] = {"conv1": first[0], "conv2": second[0], "shortcut": kernel(1, 1, channels // 2, channels)}
      stats[f"reduction_{stage}"] = {"conv1": first[1], "conv2": second[1]}
    edges = sizes.cells, len(SPACE.edges)
    weights[f"cells_{stage}"], stats[f"cells_{stage}"] = layer(kernel(*edges, 3, 3, channels, channels), *edges, channels)
  weights["last"], stats["last"] = norm(channels)
  bound = 1 / np.sqrt(channels)
  weights["classifier"] = {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in _classifier(sizes)}
  return Variables(weights, stats)


def _classifier(sizes: Sizes) -> tuple[tuple[str, tuple[int, ...]], ...]:
  channels = sizes.stages[-1][0]
  return ("kernel", (channels, sizes.classes)), ("bias", (sizes.classes,))


def apply(variables: Variables, operations: jax.Array, images: jax.Array, train: bool) -> tuple[jax.Array, Tree]:
  """Computes logits.

  Args:
    variables: from `init`, or trained.
    operations: the architecture, from `encode`; it may be traced.
    images: float32 [B, H, H, 1].
    train: whether batch statistics are used and updated.

  Returns:
    Logits [B, classes], and the running statistics after the call.
  """
  weights, stats, moved = variables.weights, variables.stats, {}
  x, moved["stem"] = _normalized(_convolve(images, weights["stem"]["kernel"]), weights["stem"], stats["stem"], train)
  for stage in range(STAGES):
    if stage:
      name = f"reduction_{stage}"
      x, moved[name] = _reduction(x, weights[name], stats[name], train)
    name = f"cells_{stage}"
    x, moved[name] = lax.scan(lambda x, of: _cell(x, operations, *of, train), x, (weights[name], stats[name]))
  x, moved["last"] = _normalized(x, weights["last"], stats["last"], train)
  classifier = weights["classifier"]
  return jax.nn.relu(x).mean((1, 2)) @ classifier["kernel"] + classifier["bias"][None], moved


def _cell(x: jax.Array, operations: jax.Array, weights: Tree, stats: Tree, train: bool) -> tuple[jax.Array, Tree]:
  states, moved = [x] + [jnp.zeros_like(x)] * SPACE.num_nodes, []
  for edge, (source, target) in enumerate(SPACE.edges):
    of_edge = jax.tree.map(lambda array, edge=edge: array[edge], (weights, stats))
    out, after = lax.switch(operations[edge], _branches(train), states[source], *of_edge)
    states[target] = states[target] + out
    moved.append(after)
  return states[-1], jax.tree.map(lambda *arrays: jnp.stack(arrays), *moved)


def _branches(train: bool) -> list[Any]:
  """Returns the operations, in the order of the space: (state, weights, statistics) to (output, statistics)."""
  by_name = {
    "none": lambda x, weights, stats: (jnp.zeros_like(x), stats),
    "skip_connect": lambda x, weights, stats: (x, stats),
    "nor_conv_3x3": lambda x, weights, stats: _normalized(_convolve(jax.nn.relu(x), weights["kernel"]), weights, stats, train),
  }
  return [by_name[name] for name in SPACE.choices]


def _reduction(x: jax.Array, weights: Tree, stats: Tree, train: bool) -> tuple[jax.Array, Tree]:
  """See `nasbench201_stack.ResidualReduction`."""
  first, second = weights["conv1"], weights["conv2"]
  out, moved1 = _normalized(_convolve(jax.nn.relu(x), first["kernel"], stride=2), first, stats["conv1"], train)
  out, moved2 = _normalized(_convolve(jax.nn.relu(out), second["kernel"]), second, stats["conv2"], train)
  batch, height, width, channels = x.shape
  pooled = x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
  return out + _convolve(pooled, weights["shortcut"]), {"conv1": moved1, "conv2": moved2}


def _convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
  """Convolves [B, H, H, C] with [k, k, C, D], padded with k // 2 zeros, to [B, H / stride, H / stride, D]."""
  (batch, height, _, channels), (size, _, _, channels_out) = x.shape, kernel.shape
  taps, out = _taps(height, size, stride), height // stride
  if size == 1 or (stride == 1 and height > _LARGEST_IMAGE):
    padded = jnp.pad(x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)]).reshape(batch, -1, height * channels)
    rows = jnp.concatenate([padded[:, row : row + height] for row in range(size)], -1)
    matrix = jnp.einsum("wvj,ijcd->iwcvd", taps, kernel).reshape(-1, height * channels_out)
    flat = rows.reshape(batch * height, -1) @ matrix
  else:
    matrix = jnp.einsum("hgi,wvj,ijcd->hwcgvd", taps, taps, kernel).reshape(-1, out * out * channels_out)
    flat = x.reshape(batch, -1) @ matrix
  return flat.reshape(batch, out, out, channels_out)


def _taps(length: int, size: int, stride: int) -> np.ndarray:
  """Returns which tap of a kernel joins a position of the input with one of the output: 0 or 1, [length, length / stride, size]."""
  place, target, tap = np.ogrid[:length, : length // stride, :size]
  return (place == target * stride + tap - size // 2).astype(np.float32)


def _normalized(x: jax.Array, weights: Tree, stats: Tree, train: bool) -> tuple[jax.Array, Tree]:
  """Applies batch normalization (`blocks.BatchNorm`), and returns the running statistics too."""
  if not train:
    factor = lax.rsqrt(stats["variance"] + BATCH_NORM_EPSILON) * weights["scale"]
    return x * _wide(factor) + _wide(weights["bias"] - stats["mean"] * factor), stats
  out, mean, variance = _by_batch(x, weights["scale"], weights["bias"])
  count = x.size // x.shape[-1]
  batch = lax.stop_gradient({"mean": mean, "variance": variance * (count / (count - 1))})
  return out, jax.tree.map(lambda old, new: BATCH_NORM_MOMENTUM * old + (1 - BATCH_NORM_MOMENTUM) * new, stats, batch)


@jax.custom_vjp
def _by_batch(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalizes with the mean and the biased variance of the batch. Returns both too, each [C], without gradient."""
  return _by_batch_forward(x, scale, bias)[0]


def _by_batch_forward(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[Any, Any]:
  mean = _mean(x)
  centered = x - _wide(mean)
  variance = _mean(jnp.square(centered))
  inverse = lax.rsqrt(variance + BATCH_NORM_EPSILON)
  return (centered * _wide(inverse * scale) + _wide(bias), mean, variance), (x, mean, inverse, scale)


def _by_batch_backward(saved: Any, cotangents: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
  (x, mean, inverse, scale), g = saved, cotangents[0]
  centered, count, factor = x - _wide(mean), x.size // x.shape[-1], inverse * scale
  mean_g, mean_product = _mean(g), inverse * _mean(g * centered)
  gradient = g * _wide(factor) - centered * _wide(factor * inverse * mean_product) - _wide(factor * mean_g)
  return gradient, mean_product * count, mean_g * count


_by_batch.defvjp(_by_batch_forward, _by_batch_backward)


def _wide(x: jax.Array) -> jax.Array:
  return x[None, None, None]


def _mean(x: jax.Array) -> jax.Array:
  """Returns the mean over (B, H, W), [C]. A product with ones is faster than a reduction on a CPU."""
  batch, height, width, channels = x.shape
  ones = jnp.ones((1, batch * height), x.dtype)
  return (ones @ x.reshape(batch * height, width * channels)).reshape(width, channels).sum(0) / (batch * height * width)


def count(sizes: Sizes, genotype: Genotype) -> tuple[int, int]:
  """Returns the number of weights, and of the multiply-adds of one image in its convolutions and its classifier.

  All edges count, as they do in `DerivedImageNetwork`, also those that lie on no path from input to output.
  """
  chosen = encode(genotype)
  per_stage = sizes.cells * int((chosen == SPACE.choices.index("nor_conv_3x3")).sum())
  (channels, height), (last, _) = sizes.stages[0], sizes.stages[-1]
  weights, products = 9 * channels + 2 * channels + 2 * last, 9 * channels * height**2
  for stage, (channels, height) in enumerate(sizes.stages):
    square, pixels = 9 * channels**2, height**2
    weights, products = weights + per_stage * (square + 2 * channels), products + per_stage * square * pixels
    if stage:
      reduction = square // 2 + square + channels**2 // 2
      weights, products = weights + reduction + 4 * channels, products + reduction * pixels
  return weights + (last + 1) * sizes.classes, products + last * sizes.classes
