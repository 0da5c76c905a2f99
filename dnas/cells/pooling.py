"""Pooling over square windows on stacks of edges, with gradients of its own; axes as in `convolution`. Average pooling of shortcuts.

A window of k pixels begins (k - 1) // 2 pixels before its position. So an odd window is centred, and a window of 2 begins at its position.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ROWS_AND_COLUMNS = 2, 3


def max_pool(x: jax.Array, stride: int, window: int = 3) -> jax.Array:
  """Takes the maximum over windows padded with minus infinity: [E, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), C].

  If several neighbours in a row or column are largest, the first receives the gradient, as in PyTorch. The gradient uses stored positions
  and compares no values: a compiler may compute an array twice, with different bits.
  """
  return _max_pool(x, stride, x.shape[2:4], window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, stride: int, sizes: tuple[int, int], window: int) -> jax.Array:
  return _max_pool_forward(x, stride, sizes, window)[0]


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _max_pool_forward(x: jax.Array, stride: int, sizes: tuple[int, int], window: int) -> tuple[jax.Array, list[jax.Array]]:
  places = []
  for axis in _ROWS_AND_COLUMNS:
    *earlier, x = _neighbours(x, axis, stride, window, -jnp.inf)
    place = window - 1
    for number, neighbour in reversed(list(enumerate(earlier))):
      place = jnp.where(neighbour >= x, number, place)
      x = lax.max(neighbour, x)
    places.append(jnp.asarray(place).astype(jnp.int8))
  return x, places


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _max_pool_backward(stride: int, sizes: tuple[int, int], window: int, places: list[jax.Array], g: jax.Array) -> tuple[jax.Array]:
  for axis, size, place in zip(_ROWS_AND_COLUMNS[::-1], sizes[::-1], places[::-1], strict=True):
    of_places, of_gradients = (_windows_of(outputs, axis, stride, window, size) for outputs in (place, g))
    windows = zip(reversed(range(window)), of_places, of_gradients, strict=True)
    g = sum(jnp.where(place == own, share, 0) for own, place, share in windows)  # pyright: ignore[reportAssignmentType]
  return (g,)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, stride: int, window: int = 3) -> jax.Array:
  """Takes the mean over windows, of the pixels inside the image only (count_include_pad=False); shapes as in `max_pool`."""
  return _avg_pool(x, stride, x.shape[2:4], window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _avg_pool(x: jax.Array, stride: int, sizes: tuple[int, int], window: int) -> jax.Array:
  return _avg_pool_forward(x, stride, sizes, window)[0]


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _avg_pool_forward(x: jax.Array, stride: int, sizes: tuple[int, int], window: int) -> tuple[jax.Array, None]:
  for axis, size in zip(_ROWS_AND_COLUMNS, sizes, strict=True):
    total: Any = sum(_neighbours(x, axis, stride, window, 0.0))
    x = total * _shares(x, axis, stride, window, size)
  return x, None


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _avg_pool_backward(stride: int, sizes: tuple[int, int], window: int, _: None, g: jax.Array) -> tuple[jax.Array]:
  for axis, size in zip(_ROWS_AND_COLUMNS, sizes, strict=True):
    shared = g * _shares(g, axis, stride, window, size)
    g = sum(_windows_of(shared, axis, stride, window, size))  # pyright: ignore[reportAssignmentType]
  return (g,)


_avg_pool.defvjp(_avg_pool_forward, _avg_pool_backward)


def _shares(like: jax.Array, axis: int, stride: int, window: int, size: int) -> np.ndarray:
  """Returns 1 / (number of neighbours inside the image) for every stride-th of `size` positions of an axis."""
  inside = np.pad(np.ones(size), _padding(window))
  count = np.sum([inside[shift : shift + size : stride] for shift in range(window)], 0)
  return (1 / count).astype(like.dtype).reshape([-1 if other == axis else 1 for other in range(like.ndim)])


def _padding(window: int) -> tuple[int, int]:
  """Returns the number of neighbours before and after a position."""
  return (window - 1) // 2, window // 2


def _neighbours(x: jax.Array, axis: int, stride: int, window: int, fill: float) -> list[jax.Array]:
  """Returns the neighbours of every stride-th position of an axis, from the first to the last of its window."""
  size = x.shape[axis]
  pad = [(0, 0)] * x.ndim
  pad[axis] = _padding(window)
  padded = jnp.pad(x, pad, constant_values=fill)
  return [lax.slice_in_dim(padded, shift, shift + size, stride, axis) for shift in range(window)]


def _windows_of(outputs: jax.Array, axis: int, stride: int, window: int, size: int) -> list[jax.Array]:
  """Returns, for each of `size` positions of an axis, the outputs of the windows that may contain it; zero for a missing window.

  The position is the last neighbour in the first of these windows, and the first neighbour in the last.
  """
  padding, (before, after) = [(0, 0, 0)] * outputs.ndim, _padding(window)
  padding[axis] = (after, size + before - 1 - stride * (outputs.shape[axis] - 1), stride - 1)
  spread = lax.pad(outputs, outputs.dtype.type(0), padding)
  return [lax.slice_in_dim(spread, shift, shift + size, 1, axis) for shift in range(window)]


def average_pool_2x2(x: jax.Array) -> jax.Array:
  """Halves height and width of [B, H, W, C]; an odd last row or column is averaged with zeros."""
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
  return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).mean((2, 4))
