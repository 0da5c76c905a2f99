"""Multiply-adds by hand: products, convolutions, loops, branches, and what lies within other functions."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from dnas.compiler import functions, marks
from dnas.compiler.counts import multiply_adds

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
IMAGES, KERNEL = jnp.ones((2, 8, 8, 6)), jnp.ones((3, 3, 6, 10))


def convolved(images, kernel, **settings):
  return lax.conv_general_dilated(images, kernel, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)


@pytest.mark.parametrize(
  "function, arguments, expected",
  [
    (jnp.dot, (A, B), 3 * 4 * 5),
    (lambda a, b: jnp.einsum("nij,njk->nik", a, b), (jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))), 7 * 3 * 4 * 5),
    (lambda x: x * 2 + 1, (A,), 2 * 12 / 2),
    (lambda x: x.sum(), (A,), 12 / 2),
    (lambda n: n + 1, (jnp.arange(4),), 0),
    (lambda x, k: convolved(x, k, window_strides=(1, 1)), (IMAGES, KERNEL), 2 * 8 * 8 * 10 * 9 * 6),
    (lambda x, k: convolved(x, k, window_strides=(2, 2)), (IMAGES, KERNEL), 2 * 4 * 4 * 10 * 9 * 6),
    (lambda x, k: convolved(x, k, window_strides=(1, 1), feature_group_count=6), (IMAGES, jnp.ones((3, 3, 1, 6))), 2 * 8 * 8 * 6 * 9),
    (jax.jit(lambda a, b: jax.checkpoint(jnp.dot)(a, b)), (A, B), 60),
    (lambda a: lax.fori_loop(0, 7, lambda _, x: x @ x, a), (jnp.ones((3, 3)),), 7 * 27),
    (lambda a: lax.scan(lambda x, _: (x @ x, None), a, length=5)[0], (jnp.ones((3, 3)),), 5 * 27),
    (lambda p, a: lax.cond(p, lambda x: x @ x, lambda x: x, a), (True, jnp.ones((3, 3))), 27),
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"), (IMAGES,), 2 * 4 * 4 * 6 * 4 / 2),
  ],
)
def test_counts_by_hand(function, arguments, expected):
  assert multiply_adds(function, *arguments) == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradients_of_a_convolution_count_twice_as_much_as_the_convolution(stride):
  function = lambda x, k: convolved(x, k, window_strides=(stride, stride))  # noqa: E731
  forward = multiply_adds(function, IMAGES, KERNEL)
  both = multiply_adds(lambda x, k, g: jax.vjp(function, x, k)[1](g), IMAGES, KERNEL, jnp.ones(function(IMAGES, KERNEL).shape))
  assert both == pytest.approx(3 * forward, rel=0.35 if stride == 2 else 0)  # the reversed kernel pads an odd number of zeros


def test_a_compiled_function_counts_as_what_it_is_made_of():
  part = marks.segment(lambda x: x @ x)
  assert multiply_adds(functions.compiled(lambda x: part(part(x))), jnp.ones((3, 3))) == 2 * 27
