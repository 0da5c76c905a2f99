"""Pooling over 3 x 3 windows on stacks of edges, with gradients of its own; axes as in `convolution`. Average pooling of shortcuts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ROWS_AND_COLUMNS = 2, 3


def max_pool(x: jax.Array, stride: int) -> jax.Array:
  """Takes the maximum over 3 x 3 windows padded with minus infinity: [E, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), C].

  If several of three neighbours are largest, the first receives the gradient, as in PyTorch. The gradient uses stored positions and
  compares no values: a compiler may compute an array twice, with different bits.
  """
  return _max_pool(x, stride, x.shape[2:4])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: jax.Array, stride: int, sizes: tuple[int, int]) -> jax.Array:
  return _max_pool_forward(x, stride, sizes)[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _max_pool_forward(x: jax.Array, stride: int, sizes: tuple[int, int]) -> tuple[jax.Array, list[jax.Array]]:
  places = []
  for axis in _ROWS_AND_COLUMNS:
    first, middle, last = _neighbours(x, axis, stride, -jnp.inf)
    place = jnp.where(middle >= last, 1, 2)
    places.append(jnp.where((first >= middle) & (first >= last), 0, place).astype(jnp.int8))
    x = lax.max(first, lax.max(middle, last))
  return x, places


@functools.partial(jax.jit, static_argnums=(0, 1))
def _max_pool_backward(stride: int, sizes: tuple[int, int], places: list[jax.Array], g: jax.Array) -> tuple[jax.Array]:
  for axis, size, place in zip(_ROWS_AND_COLUMNS[::-1], sizes[::-1], places[::-1], strict=True):
    windows = zip((2, 1, 0), _windows_of(place, axis, stride, size), _windows_of(g, axis, stride, size), strict=True)
    g = sum(jnp.where(place == own, share, 0) for own, place, share in windows)  # pyright: ignore[reportAssignmentType]
  return (g,)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, stride: int) -> jax.Array:
  """Takes the mean over 3 x 3 windows, of the pixels inside the image only (count_include_pad=False); shapes as in `max_pool`."""
  return _avg_pool(x, stride, x.shape[2:4])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _avg_pool(x: jax.Array, stride: int, sizes: tuple[int, int]) -> jax.Array:
  return _avg_pool_forward(x, stride, sizes)[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _avg_pool_forward(x: jax.Array, stride: int, sizes: tuple[int, int]) -> tuple[jax.Array, None]:
  for axis, size in zip(_ROWS_AND_COLUMNS, sizes, strict=True):
    x = sum(_neighbours(x, axis, stride, 0.0)) * _shares(x, axis, stride, size)  # pyright: ignore[reportAssignmentType]
  return x, None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _avg_pool_backward(stride: int, sizes: tuple[int, int], _: None, g: jax.Array) -> tuple[jax.Array]:
  for axis, size in zip(_ROWS_AND_COLUMNS, sizes, strict=True):
    g = sum(_windows_of(g * _shares(g, axis, stride, size), axis, stride, size))  # pyright: ignore[reportAssignmentType]
  return (g,)


_avg_pool.defvjp(_avg_pool_forward, _avg_pool_backward)


def _shares(like: jax.Array, axis: int, stride: int, size: int) -> np.ndarray:
  """Returns 1 / (number of neighbours inside the image) for every stride-th of `size` positions of an axis."""
  inside = np.pad(np.ones(size), 1)
  count = np.sum([inside[shift : shift + size : stride] for shift in range(3)], 0)
  return (1 / count).astype(like.dtype).reshape([-1 if other == axis else 1 for other in range(like.ndim)])


def _neighbours(x: jax.Array, axis: int, stride: int, fill: float) -> list[jax.Array]:
  """Returns x shifted by -1, 0 and 1 along an axis, taken at every stride-th position."""
  size = x.shape[axis]
  pad = [(0, 0)] * x.ndim
  pad[axis] = (1, 1)
  padded = jnp.pad(x, pad, constant_values=fill)
  return [lax.slice_in_dim(padded, shift, shift + size, stride, axis) for shift in range(3)]


def _windows_of(outputs: jax.Array, axis: int, stride: int, size: int) -> list[jax.Array]:
  """Returns, for each of `size` positions of an axis, the outputs of the three windows that may contain it; zero for a missing window."""
  padding = [(0, 0, 0)] * outputs.ndim
  padding[axis] = (1, size - stride * (outputs.shape[axis] - 1), stride - 1)
  spread = lax.pad(outputs, outputs.dtype.type(0), padding)
  return [lax.slice_in_dim(spread, shift, shift + size, 1, axis) for shift in range(3)]


def average_pool_2x2(x: jax.Array) -> jax.Array:
  """Halves height and width of [B, H, W, C]; an odd last row or column is averaged with zeros."""
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
  return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).mean((2, 4))
