"""Depthwise, dense and pointwise convolution on stacks of edges.

Axes: E edges, B batch, H height, W width, C channels. All edges that leave one state form one stack [E, B, H, W, C], so that a cell needs
one convolution per state and operation. A stack of length 1 is an input that all edges share.

XLA's grouped convolution is slow on a CPU: a 3x3 depthwise convolution of 64x32x32x16 took 39 ms forward. On a CPU this file sums shifted
windows instead, which took 0.5 ms, and defines their gradient. On an accelerator it calls the library's convolution. Tests check that both
agree. For a dense convolution only the library's kernel gradient is slow on a CPU.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dnas.cells.stacks import MOST_PARTS, apart, joined, sum_type, times_ones
from dnas.compiler.inference import counted_as
from dnas.core import devices


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, form: str | None = None) -> jax.Array:
  """Convolves every channel with its own k x k kernel. Zero padding keeps the size at stride 1.

  Args:
    x: [E, B, H, W, C], or [1, B, H, W, C] shared by all edges.
    kernel: [E, k, k, C] with odd k.
    stride: 1 or 2; the output has ceil(H / stride) rows.
    dilation: distance between neighbouring taps.
    form: 'windows' or 'library'; by default the faster one for the back-end.

  Returns:
    [E, B, ceil(H / stride), ceil(W / stride), C].
  """
  form = form or ("windows" if devices.backend() == "cpu" else "library")
  if form == "windows":
    return _depthwise_windows(x, kernel, stride, dilation)
  return _depthwise_library(x, kernel, stride, dilation)


def _depthwise_library(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
  edges, k, _, channels = kernel.shape
  batch = x.shape[1]
  x_BHWF = jnp.moveaxis(jnp.broadcast_to(x, (edges, *x.shape[1:])), 0, 3).reshape(*x.shape[1:4], edges * channels)
  kernel_kk1F = jnp.moveaxis(kernel, 0, 2).reshape(k, k, 1, edges * channels)
  pad = dilation * (k // 2)
  out = lax.conv_general_dilated(
    x_BHWF,
    kernel_kk1F,
    (stride, stride),
    [(pad, pad), (pad, pad)],
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=edges * channels,
  )
  return jnp.moveaxis(out.reshape(batch, *out.shape[1:3], edges, channels), 3, 0)


_MOST_TAPS = 3
"""A kernel is laid into a larger one if that has at most this many times its taps."""


def depthwise_of_several(
  inputs: Sequence[jax.Array], kernels: Sequence[jax.Array], *, stride: int = 1, dilations: Sequence[int], form: str | None = None
) -> jax.Array:
  """Convolves the inputs of K operations, each as `depthwise` does.

  On an accelerator every launch costs. So there kernels of one dilation are laid into one size, with zeros around, and convolve together.

  Args:
    inputs: the input of every operation, [E, B, H, W, C] or [1, B, H, W, C].
    kernels: the kernel of every operation, [E, k, k, C].
    stride: 1 or 2.
    dilations: the dilation of every operation.
    form: as in `depthwise`.

  Returns:
    The outputs, edge by edge, [E * K, B, ceil(H / stride), ceil(W / stride), C].
  """
  form = form or ("windows" if devices.backend() == "cpu" else "library")
  if form == "windows":
    parts = zip(inputs, kernels, dilations, strict=True)
    return joined([depthwise(x, kernel, stride=stride, dilation=dilation, form=form) for x, kernel, dilation in parts])
  outputs: dict[int, jax.Array] = {}
  for members in _groups([kernel.shape[1] for kernel in kernels], dilations):
    size = kernels[members[-1]].shape[1]
    kernel = joined([_laid_into(kernels[index], size) for index in members])
    x = joined([jnp.broadcast_to(inputs[index], (kernel.shape[0] // len(members), *inputs[index].shape[1:])) for index in members])
    out = _depthwise_library(x, kernel, stride, dilations[members[0]])
    outputs.update(zip(members, apart(out, len(members)), strict=True))
  return joined([outputs[index] for index in range(len(kernels))])


def _groups(sizes: Sequence[int], dilations: Sequence[int]) -> list[list[int]]:
  """Returns groups of operations that convolve together, each in ascending order of kernel sizes."""
  groups: list[list[int]] = []
  for index in sorted(range(len(sizes)), key=lambda index: (dilations[index], sizes[index])):
    first = groups[-1][0] if groups else None
    together = first is not None and dilations[first] == dilations[index] and sizes[index] ** 2 <= _MOST_TAPS * sizes[first] ** 2
    groups[-1].append(index) if together else groups.append([index])
  return groups


def _laid_into(kernel: jax.Array, size: int) -> jax.Array:
  around = (size - kernel.shape[1]) // 2
  return jnp.pad(kernel, [(0, 0), (around, around), (around, around), (0, 0)])


Pair = tuple[int, int]
"""One number for the rows and one for the columns."""


def dense(
  x: jax.Array, kernel: jax.Array, *, stride: int | Pair = 1, padding: int | Pair = 0, form: str | None = None
) -> jax.Array:
  """Convolves images with a dense kernel.

  Args:
    x: [B, H, W, C].
    kernel: [k, k', C, D].
    stride: stride of rows and columns.
    padding: number of zeros above and below, and on the left and on the right.
    form: 'taps', whose kernel gradient is one matrix product per tap, or 'library'; by default the faster one for the back-end.

  Returns:
    [B, H', W', D].
  """
  form = form or ("taps" if devices.backend() == "cpu" else "library")
  return (_dense_taps if form == "taps" else _dense_library)(x, kernel, _pair(stride), _pair(padding))


def _pair(number: int | Pair) -> Pair:
  return (number, number) if isinstance(number, int) else number


def _dense_library(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Pair) -> jax.Array:
  around = [(number, number) for number in padding]
  return lax.conv_general_dilated(x, kernel, stride, around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _dense_taps(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Pair) -> jax.Array:
  return _dense_library(x, kernel, stride, padding)


def _dense_forward(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Pair) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _dense_library(x, kernel, stride, padding), (x, kernel)


def _dense_backward(stride: Pair, padding: Pair, saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  _, pull_back = jax.vjp(lambda x: _dense_library(x, kernel, stride, padding), x)
  padded = jnp.pad(x, [(0, 0), *((number, number) for number in padding), (0, 0)])
  rows, columns = (step * (size - 1) + 1 for step, size in zip(stride, g.shape[1:3], strict=True))
  flat = g.reshape(-1, g.shape[-1])

  def tap(number: jax.Array) -> jax.Array:
    start = (0, number // kernel.shape[1], number % kernel.shape[1], 0)
    window = lax.dynamic_slice(padded, start, (x.shape[0], rows, columns, x.shape[3]))[:, :: stride[0], :: stride[1]]
    return jnp.matmul(window.reshape(-1, x.shape[3]).T, flat, preferred_element_type=sum_type(g))

  taps = lax.map(tap, jnp.arange(kernel.shape[0] * kernel.shape[1]))
  return pull_back(g)[0], taps.reshape(kernel.shape).astype(kernel.dtype)


def pointwise(x: jax.Array, kernel: jax.Array, form: str | None = None) -> jax.Array:
  """Multiplies the channels of every edge by a matrix.

  Args:
    x: [E, ..., C].
    kernel: [E, C, D].
    form: 'parts', whose kernel gradient is two products that run in parallel, or 'library'; by default the faster one for the back-end.

  Returns:
    [E, ..., D].
  """
  form = form or ("parts" if devices.backend() == "cpu" else "library")
  flat = x.reshape(x.shape[0], -1, x.shape[-1])
  out = (_pointwise_parts if form == "parts" else lax.batch_matmul)(flat, kernel)
  return out.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def _pointwise_parts(x: jax.Array, kernel: jax.Array) -> jax.Array:
  return lax.batch_matmul(x, kernel)


def _pointwise_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return lax.batch_matmul(x, kernel), (x, kernel)


def _pointwise_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  return lax.batch_matmul(g, kernel.swapaxes(1, 2)), _pointwise_kernel_gradient(x, g).astype(kernel.dtype)


@jax.jit
def _pointwise_kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
  parts = math.gcd(x.shape[1], 2)  # one product of long sums and few results would run on one core
  x_parts, g_parts = (array.reshape(array.shape[0], parts, -1, array.shape[2]) for array in (x, g))
  return jnp.einsum("epnc,epnd->epcd", x_parts, g_parts, preferred_element_type=sum_type(g)).sum(1)


_pointwise_parts.defvjp(_pointwise_forward, _pointwise_backward)


_dense_taps.defvjp(_dense_forward, _dense_backward)


# The window form sums shifted windows. The compiler fuses the sum into one loop, forward and in the input gradient. The kernel gradient
# reduces over all positions for every tap. For it a loop over the taps was fastest: each tap sums the products of a few parts of the batch
# in one fused loop, then sums over positions by a matrix product with ones.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_windows(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
  return _windows_forward(x, kernel, stride, dilation)


@functools.partial(jax.jit, static_argnums=(2, 3))
@counted_as("depthwise_windows", lambda x, kernel, result: math.prod(result) * kernel[1] * kernel[2])
def _windows_forward(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
  pad = dilation * (kernel.shape[1] // 2)
  padded = jnp.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)])
  shape = (kernel.shape[0], x.shape[1], *(-(-size // stride) for size in x.shape[2:4]), x.shape[4])
  windows = (
    _weighted(_slice_window(padded, i * dilation, j * dilation, x.shape[2], x.shape[3], stride), tap, shape)
    for (i, j), tap in _taps(kernel).items()
  )
  return functools.reduce(lax.add, windows)


def _taps(kernel: jax.Array) -> dict[tuple[int, int], jax.Array]:
  """Returns {(row, column): tap of the kernel, [E, C]}."""
  edges, k, _, channels = kernel.shape
  flat = kernel.reshape(edges, k * k * channels)
  places = itertools.product(range(k), range(k))
  return {place: lax.slice_in_dim(flat, t * channels, (t + 1) * channels, axis=1) for t, place in enumerate(places)}


def _weighted(window: jax.Array, tap: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Multiplies [E or 1, B, H, W, C] by [E, C]. It uses `lax`, which traces faster than `jnp`: a network has hundreds of taps."""
  window = window if window.shape == shape else lax.broadcast_in_dim(window, shape, range(5))
  return lax.mul(window, lax.broadcast_in_dim(tap, shape, (0, 4)))


def _slice_window(x: jax.Array, row: int, column: int, height: int, width: int, stride: int = 1) -> jax.Array:
  edges, batch, _, _, channels = x.shape
  start, limit = (0, 0, row, column, 0), (edges, batch, row + height, column + width, channels)
  return lax.slice(x, start, limit, (1, 1, stride, stride, 1))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _windows_input_gradient(g: jax.Array, kernel: jax.Array, x_shape: tuple[int, ...], stride: int, dilation: int) -> jax.Array:
  """Computes every phase of the input gradient (positions equal modulo the stride) as a sum of windows of the output gradient."""
  pad = dilation * (kernel.shape[1] // 2)
  rows, columns = g.shape[2:4]
  padded = jnp.pad(g, [(0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)])
  phases, taps = [], _taps(kernel)
  for phase in itertools.product(range(stride), repeat=2):
    windows = []
    for place, tap in taps.items():
      shifts = [offset + pad - index * dilation for offset, index in zip(phase, place, strict=True)]
      if not any(shift % stride for shift in shifts):
        row, column = (pad + shift // stride for shift in shifts)
        windows.append(_weighted(_slice_window(padded, row, column, rows, columns), tap, g.shape))
    total = functools.reduce(lax.add, windows) if windows else jnp.zeros_like(g)
    phases.append(total if x_shape[0] == g.shape[0] else _sum_edges(total))
  if stride == 1:
    return phases[0]
  edges, batch, height, width, channels = x_shape
  x = jnp.stack(phases).reshape(stride, stride, edges, batch, rows, columns, channels).transpose(2, 3, 4, 0, 5, 1, 6)
  return x.reshape(edges, batch, rows * stride, columns * stride, channels)[:, :, :height, :width]


def _sum_edges(x: jax.Array) -> jax.Array:
  """Sums over the edges by additions. A reduction would keep the compiler from fusing the windows before it."""
  return functools.reduce(lax.add, jnp.split(x, x.shape[0]))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _windows_kernel_gradient(g: jax.Array, x: jax.Array, kernel_shape: tuple[int, ...], stride: int, dilation: int) -> jax.Array:
  edges, k, _, channels = kernel_shape
  phases = _to_phases(x, k, stride, dilation)
  num_parts = math.gcd(g.shape[1], MOST_PARTS)
  size = g.shape[1] // num_parts
  shape = (edges, size, *g.shape[2:])

  def tap_gradient(_: None, place: jax.Array) -> tuple[None, jax.Array]:
    phase, row, column = place

    def product(part: int, g: jax.Array) -> jax.Array:
      window = lax.dynamic_slice(phases, (phase, 0, part * size, row, column, 0), (1, x.shape[0], *shape[1:]))
      return lax.mul(lax.broadcast_in_dim(window[0].astype(g.dtype), shape, range(5)), g)

    # Splitting before the loop would make the loop carry the parts, and double the compilation time.
    products = itertools.starmap(product, enumerate(jnp.split(g.astype(sum_type(g)), num_parts, 1)))
    total = functools.reduce(lax.add, products).astype(g.dtype).reshape(edges, -1, channels)
    return None, times_ones(total)

  offsets = [[index * dilation for index in place] for place in itertools.product(range(k), repeat=2)]
  places = [(row % stride * stride + column % stride, row // stride, column // stride) for row, column in offsets]
  _, gradient = lax.scan(tap_gradient, None, jnp.asarray(places))
  return jnp.moveaxis(gradient, 0, 1).reshape(kernel_shape).astype(g.dtype)


def _windows_fwd(x: jax.Array, kernel: jax.Array, stride: int, dilation: int):
  return _windows_forward(x, kernel, stride, dilation), (x, kernel)


def _windows_bwd(stride: int, dilation: int, residuals: tuple[jax.Array, jax.Array], g: jax.Array):
  x, kernel = residuals
  return (
    _windows_input_gradient(g, kernel, x.shape, stride, dilation),
    _windows_kernel_gradient(g, x, kernel.shape, stride, dilation),
  )


_depthwise_windows.defvjp(_windows_fwd, _windows_bwd)


def _padded_size(size: int, k: int, stride: int, dilation: int) -> int:
  """Returns the padded length of one spatial axis, rounded up to a whole number of strides."""
  return -(-(size + 2 * dilation * (k // 2)) // stride) * stride


def _to_phases(x: jax.Array, k: int, stride: int, dilation: int) -> jax.Array:
  """Pads x and returns its phases, [stride^2, E, B, rows, columns, C]."""
  pad = dilation * (k // 2)
  after = [_padded_size(size, k, stride, dilation) - size - pad for size in x.shape[2:4]]
  x = jnp.pad(x, [(0, 0), (0, 0), (pad, after[0]), (pad, after[1]), (0, 0)])
  if stride == 1:
    return x[None]
  edges, batch, height, width, channels = x.shape
  x = x.reshape(edges, batch, height // stride, stride, width // stride, stride, channels)
  return x.transpose(3, 5, 0, 1, 2, 4, 6).reshape(stride * stride, edges, batch, height // stride, width // stride, channels)
