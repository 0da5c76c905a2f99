"""Joins stacks of edges, [E, B, H, W, C], takes them apart, and sums them over their positions; axes as in `convolution`."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dnas.core import devices

POSITIONS = (1, 2, 3)
"""The axes of a stack over which batch statistics are taken."""

MOST_PARTS = 8
"""Largest number of parts of a batch that one fused loop computes and sums."""


def joined(stacks: Sequence[jax.Array]) -> jax.Array:
  """Joins K stacks [E, ...], edge by edge, into [E * K, ...]."""
  if len(stacks) == 1:
    return stacks[0]
  if stacks[0].shape[0] == 1:
    return jnp.concatenate(stacks)
  return jnp.stack(stacks, 1).reshape(-1, *stacks[0].shape[1:])


def apart(stack: jax.Array, num: int) -> list[jax.Array]:
  """Takes [E * K, ...] apart into K stacks [E, ...]."""
  if stack.shape[0] == num:
    return jnp.split(stack, num)
  return [part[:, 0] for part in jnp.split(stack.reshape(-1, num, *stack.shape[1:]), num, 1)]


def sums_over_positions(*arrays: jax.Array) -> list[jax.Array]:
  """Sums arrays [E, B, H, W, C] of one shape over the positions, (B, H, W), to [E, C].

  On a CPU it adds a few parts of the batch, which the compiler fuses with the computation of the array. It sums the rest by a product with
  ones. On an accelerator one reduction serves all arrays, since every launch costs.
  """
  if devices.backend() != "cpu":
    return sums_at_once(arrays, POSITIONS)
  return [_sum_by_parts(x) for x in arrays]


def means_over_positions(*arrays: jax.Array) -> list[jax.Array]:
  """Returns the means of arrays [E, B, H, W, C] of one shape over the positions, [E, C]; on an accelerator by one reduction for all."""
  if devices.backend() != "cpu":
    return [total / (x.size // total.size) for x, total in zip(arrays, sums_at_once(arrays, POSITIONS), strict=True)]
  return [x.mean(POSITIONS) for x in arrays]


def sums_at_once(arrays: Sequence[jax.Array], axes: Sequence[int]) -> list[jax.Array]:
  """Sums arrays of one shape and type over axes, by one reduction. The sums are at least float32."""
  arrays = [x.astype(sum_type(x)) for x in arrays]
  zeros = [np.zeros((), x.dtype) for x in arrays]
  return list(lax.reduce(arrays, zeros, lambda xs, ys: [x + y for x, y in zip(xs, ys, strict=True)], axes))


def _sum_by_parts(x: jax.Array) -> jax.Array:
  parts = jnp.split(x, math.gcd(x.shape[1], MOST_PARTS), 1)
  return times_ones(functools.reduce(lax.add, parts).reshape(x.shape[0], -1, x.shape[-1]))


def times_ones(x: jax.Array) -> jax.Array:
  """Sums [E, N, C] to [E, C] by a matrix product, which is faster than a reduction on a CPU."""
  ones = jnp.ones((x.shape[0], 1, x.shape[1]), x.dtype)
  return lax.dot_general(ones, x, (((2,), (1,)), ((0,), (0,))), preferred_element_type=sum_type(x))[:, 0]


def sum_type(x: jax.Array) -> jnp.dtype:
  """Returns the type in which sums over many positions are accumulated, at least float32."""
  return jnp.promote_types(x.dtype, jnp.float32)
