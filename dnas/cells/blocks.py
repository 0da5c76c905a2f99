"""Building blocks of operations and cells: initialization, batch normalization, 1x1 convolutions, the factorized reduction.

Axes: E edges, B batch, H height, W width, C channels in, D channels out. All blocks but `Linear` and `Conv` map stacks [E, B, H, W, C].
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import convolution, stacks
from dnas.cells.rectifier import relu
from dnas.cells.residuals import keep

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics; PyTorch's momentum is the weight of the new ones, 0.1


def uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
  """Returns a weight drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for convolutions and linear layers.

  Weights are drawn on the host: a network of hundreds of shapes would otherwise compile hundreds of random number generators.
  """
  bound = 1 / np.sqrt(fan_in)
  return nnx.Param(on_device(rng.uniform(-bound, bound, shape)))


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], fan: int) -> nnx.Param:
  """Returns a weight drawn from N(0, 2 / fan), for layers before a ReLU (He et al., "Delving Deep into Rectifiers", 2015, section 2.2)."""
  return nnx.Param(on_device(rng.normal(0.0, np.sqrt(2 / fan), shape)))


def he_normal_fan_out(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
  """Returns a kernel [k, k', C, D] drawn from N(0, 2 / (k k' D)), which keeps the variance of gradients (He et al., section 2.2)."""
  return he_normal(rng, shape, fan_in // shape[-2] * shape[-1])


def on_device(x: np.ndarray) -> jax.Array:
  """Copies an array to the device, as float32, or as float64 if JAX has x64 enabled. `jnp.asarray` would compile a program per shape."""
  return jax.device_put(x.astype(jax.dtypes.canonicalize_dtype(float)), may_alias=False)


class BatchNorm(nnx.Module):
  """Batch normalization over (B, H, W), separately for every edge and channel (Ioffe and Szegedy, 2015).

  In training it normalizes with the batch statistics and updates the running statistics. The running variance uses the unbiased estimate,
  as in PyTorch. In inference it normalizes with the running statistics.
  """

  def __init__(self, edges: int, channels: int, affine: bool):
    """`affine` adds a trained scale and bias for every edge and channel."""
    zeros, ones = np.zeros((edges, channels)), np.ones((edges, channels))
    self.mean, self.variance = nnx.BatchStat(on_device(zeros)), nnx.BatchStat(on_device(ones))
    self.scale, self.bias = (nnx.Param(on_device(ones)), nnx.Param(on_device(zeros))) if affine else (None, None)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [E, B, H, W, C] to the same shape."""
    scale, bias = (None, None) if self.scale is None or self.bias is None else (self.scale[...], self.bias[...])
    running = self.mean[...], self.variance[...]
    if not train:
      return _normalize(x, *running, scale, bias)
    out, mean, variance = _normalize_by_batch(x, scale, bias)
    for variable, value in zip((self.mean, self.variance), _moved(running, mean, variance, x.size // mean.size), strict=True):
      variable.set_value(value)
    return out


# The functions below are compiled separately, so that all layers of one shape are traced and differentiated once.


@functools.partial(jax.jit, static_argnums=3)
def _moved(running: tuple[jax.Array, jax.Array], mean: jax.Array, variance: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """Returns the running mean and variance after a batch of `count` values per channel, without gradient."""
  batch = jax.lax.stop_gradient((mean, variance * (count / max(count - 1, 1))))
  return jax.tree.map(lambda old, new: BATCH_NORM_MOMENTUM * old + (1 - BATCH_NORM_MOMENTUM) * new, running, batch)


@jax.jit
def _normalize(x: jax.Array, mean: jax.Array, variance: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
  factor = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
  factor = factor if scale is None else factor * scale
  centered = (x - _wide(mean)) * _wide(factor)
  return (centered if bias is None else centered + _wide(bias)).astype(x.dtype)


@jax.custom_vjp
def _normalize_by_batch(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalizes x by its mean and biased variance over (B, H, W). Returns the result, the mean and the variance.

  The mean and the variance are [E, C]. No gradient flows from them.
  """
  return _by_batch_forward(x, scale, bias)[0]


@jax.jit
def _by_batch_forward(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> tuple[Any, Any]:
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # sums of squares need at least float32
  shift = wide[:, 0, 0, 0]  # near the mean; it limits the cancellation in the difference of squares below
  shifted = wide - _wide(shift)
  difference, squares = stacks.means_over_positions(shifted, jnp.square(shifted))
  mean = keep(shift + difference)
  variance = keep(jnp.maximum(squares - jnp.square(difference), 0))
  return (_normalize(x, mean, variance, scale, bias), mean, variance), (x, mean, variance, scale)


@jax.jit
def _by_batch_backward(residuals: Any, cotangents: Any) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
  """Computes the gradient of Ioffe and Szegedy, 2015, section 3: two sums for every channel, then one pass over the positions."""
  x, mean, variance, scale = residuals
  g = cotangents[0].astype(mean.dtype)
  centered, count = x.astype(mean.dtype) - _wide(mean), x.size // mean.size
  inverse = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
  factor = inverse if scale is None else inverse * scale
  sum_g, sum_product = stacks.sums_over_positions(g, g * centered)
  sum_product = inverse * sum_product
  gradient = g * _wide(factor) - centered * _wide(factor * inverse * sum_product / count) - _wide(factor * sum_g / count)
  return gradient.astype(x.dtype), None if scale is None else sum_product, None if scale is None else sum_g


_normalize_by_batch.defvjp(_by_batch_forward, _by_batch_backward)


def _wide(x: jax.Array) -> jax.Array:
  return x[:, None, None, None]


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Applies a 1x1 convolution: [E, ..., C] by [E, C, D] gives [E, ..., D], of x's type. If x has one edge, all kernels read it."""
  if x.shape[0] != kernel.shape[0]:
    x = jnp.broadcast_to(x, (kernel.shape[0], *x.shape[1:]))
  return convolution.pointwise(x, kernel.astype(x.dtype))


class ReluConvBN(nnx.Module):
  """ReLU, 1x1 convolution, batch normalization. It maps a cell's input to the cell's number of channels."""

  def __init__(self, edges: int, channels_in: int, channels: int, affine: bool, rng: np.random.Generator):
    self.kernel = uniform(rng, (edges, channels_in, channels), channels_in)
    self.norm = BatchNorm(edges, channels, affine)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [E, B, H, W, C] to [E, B, H, W, D]."""
    return self.norm(pointwise(relu(x), self.kernel[...]), train)


class ConvBN(nnx.Module):
  """1x1 convolution, batch normalization."""

  def __init__(self, edges: int, channels_in: int, channels: int, affine: bool, rng: np.random.Generator):
    self.kernel = uniform(rng, (edges, channels_in, channels), channels_in)
    self.norm = BatchNorm(edges, channels, affine)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [E or 1, B, H, W, C] to [E, B, H, W, D]."""
    return self.norm(pointwise(x, self.kernel[...]), train)


class FactorizedReduce(nnx.Module):
  """ReLU, two concatenated 1x1 convolutions of stride 2 (on the even and on the odd pixels), batch normalization."""

  def __init__(self, edges: int, channels_in: int, channels: int, affine: bool, rng: np.random.Generator):
    half = channels // 2
    self.even = uniform(rng, (edges, channels_in, half), channels_in)
    self.odd = uniform(rng, (edges, channels_in, channels - half), channels_in)
    self.norm = BatchNorm(edges, channels, affine)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [E, B, H, W, C] to [E, B, ceil(H / 2), ceil(W / 2), D]. If H or W is odd, the odd pixels are padded with zeros."""
    x = relu(x)
    halves = pointwise(_every_other(x, 0), self.even[...]), pointwise(_every_other(x, 1), self.odd[...])
    return self.norm(jnp.concatenate(halves, -1), train)


def _every_other(x: jax.Array, first: int) -> jax.Array:
  """Returns every other row and column of [E, B, H, W, C], from the first (0) or the second (1) on, with zeros after an odd number of them.

  It takes no slice with strides: compilers for GPUs end the process where a product reads one (openxla/xla, issue 47381).
  """
  x = jnp.pad(x, [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, x.shape[3] % 2), (0, 0)])
  edges, batch, height, width, channels = x.shape
  pairs = x.reshape(edges, batch, height // 2, 2, width // 2, 2, channels)
  return pairs[:, :, :, first, :, first]


def redraw_by_fan_out(module: nnx.Module, rng: np.random.Generator) -> None:
  """Draws the kernels of all convolutions in a module again, from normal distributions of variance 2 / fan-out.

  All arrays but those of `Conv` begin with an axis for the edges, and depthwise kernels are attributes named `depthwise`. Arrays of
  fewer than three axes are left alone. Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, section 2.2.
  """
  plain = [node.kernel for _, node in nnx.iter_graph(module) if isinstance(node, Conv)]
  for path, node in nnx.iter_graph(module):
    if isinstance(node, nnx.Param) and len(node.shape) > 2:
      own = node.shape if any(node is kernel for kernel in plain) else node.shape[1:]
      depthwise = "depthwise" in path
      fan_out = math.prod(own[:-1]) if depthwise else math.prod(own[:-2]) * own[-1]
      node.set_value(on_device(rng.normal(0, math.sqrt(2 / fan_out), node.shape)))


class Linear(nnx.Module):
  """Affine map of the last axis, with PyTorch's initialization."""

  def __init__(self, features_in: int, features: int, rng: np.random.Generator):
    self.kernel = uniform(rng, (features_in, features), features_in)
    self.bias = uniform(rng, (features,), features_in)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., features_in] to [..., features]."""
    return x @ self.kernel[...] + jnp.broadcast_to(self.bias[...], (*x.shape[:-1], self.bias.shape[0]))


class Conv(nnx.Module):
  """Dense convolution of a batch of images, without bias."""

  def __init__(
    self,
    channels_in: int,
    channels: int,
    kernel: tuple[int, int],
    rng: np.random.Generator,
    stride: int = 1,
    padding: int = 0,
    draw: Callable[[np.random.Generator, tuple[int, ...], int], nnx.Param] = uniform,
  ):
    """`draw` makes the initial kernel from a generator, the shape of the kernel and the fan-in."""
    self.stride, self.padding = stride, padding
    self.kernel = draw(rng, (*kernel, channels_in, channels), kernel[0] * kernel[1] * channels_in)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, C] to [B, H', W', D]."""
    return convolution.dense(x, self.kernel[...].astype(x.dtype), stride=self.stride, padding=self.padding)
