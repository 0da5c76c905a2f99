"""Both forms of the depthwise convolution, with all their derivatives, against a float64 walk over the taps."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from dnas.cells import stacks
from dnas.cells.convolution import dense, depthwise, depthwise_of_several, pointwise
from dnas.cells.pooling import avg_pool, max_pool

FORMS = ("windows", "library")
# Kernel, stride, dilation; and in turn the edges, whether they share the input, and a size.
GRID = list(itertools.product((3, 5, 7), (1, 2), (1, 2)))
STACKS = [(3, True, (5, 6)), (2, False, (6, 6)), (1, True, (6, 5)), (3, False, (5, 7)), (3, True, (4, 6))]
CASES = [(*case, *STACKS[index % 5]) for index, case in enumerate(GRID)]
SECOND_ORDER = [CASES[0], CASES[3], CASES[6]]


def windows_of(x: np.ndarray, k: int, stride: int, dilation: int):
  """Yields tap and the strided view of the padded input that it reads."""
  height, width = x.shape[2:4]
  pad = dilation * (k - 1) // 2
  padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)])
  for i, j in itertools.product(range(k), repeat=2):
    yield i, j, padded[:, :, i * dilation : i * dilation + height : stride, j * dilation : j * dilation + width : stride]


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int, dilation: int) -> np.ndarray:
  return sum(view * kernel[:, i, j][:, None, None, None] for i, j, view in windows_of(x, kernel.shape[1], stride, dilation))


def kernel_pull_back(x: np.ndarray, g: np.ndarray, k: int, stride: int, dilation: int) -> np.ndarray:
  out = np.zeros((g.shape[0], k, k, g.shape[-1]))
  for i, j, view in windows_of(x, k, stride, dilation):
    out[:, i, j] = (view * g).sum((1, 2, 3))
  return out


def input_pull_back(x_shape: tuple[int, ...], kernel: np.ndarray, g: np.ndarray, stride: int, dilation: int) -> np.ndarray:
  # The adjoint of every coordinate of the input, one at a time: slow, and with nothing in common with a shifted window.
  out = np.zeros(x_shape)
  for place in np.ndindex(*x_shape[2:4]):
    unit = np.zeros((1, 1, *x_shape[2:4], 1))
    unit[0, 0, *place, 0] = 1
    response = convolved(unit, kernel, stride, dilation)
    adjoint = (response * g).sum((2, 3))
    out[:, :, *place] = adjoint.sum(0) if x_shape[0] < kernel.shape[0] else adjoint
  return out


def draw(k: int, edges: int, shared: bool, size: tuple[int, int], channels: int = 2) -> tuple[np.ndarray, ...]:
  """Returns input and kernel, a tangent of each, all float32."""
  rng = np.random.default_rng(k)
  shapes = (1 if shared else edges, 2, *size, channels), (edges, k, k, channels)
  return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes * 2)


def energy(form: str, stride: int, dilation: int, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A loss that is not linear in the convolution, so that every term of a second derivative counts."""
  out = depthwise(x, kernel, stride=stride, dilation=dilation, form=form)
  return jnp.square(out).sum() / 2, out


def gradient(form: str, stride: int, dilation: int):
  return jax.grad(functools.partial(energy, form, stride, dilation), (0, 1), has_aux=True)


def close(found: jax.Array, expected: np.ndarray):
  assert found.dtype == jnp.float32 and found.shape == expected.shape
  np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max(), rtol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("k", "stride", "dilation", "edges", "shared", "size"), CASES)
def test_output_and_gradients(form: str, k: int, stride: int, dilation: int, edges: int, shared: bool, size: tuple[int, int]):
  x, kernel, _, _ = draw(k, edges, shared, size)
  (x_gradient, kernel_gradient), out = quick_jit(gradient(form, stride, dilation))(x, kernel)
  expected = convolved(x.astype(np.float64), kernel.astype(np.float64), stride, dilation)
  assert out.shape == (edges, 2, -(-size[0] // stride), -(-size[1] // stride), 2)
  close(out, expected)
  close(x_gradient, input_pull_back(x.shape, kernel.astype(np.float64), expected, stride, dilation))
  close(kernel_gradient, kernel_pull_back(x.astype(np.float64), expected, k, stride, dilation))


def curvature_product(x, kernel, v, u, stride: int, dilation: int) -> tuple[np.ndarray, np.ndarray]:
  """The product of the Hessian of `energy` with (v, u), by the product rule on the reference."""
  x, kernel, v, u = (array.astype(np.float64) for array in (x, kernel, v, u))
  out = convolved(x, kernel, stride, dilation)
  moved = convolved(v, kernel, stride, dilation) + convolved(x, u, stride, dilation)
  k = kernel.shape[1]
  return (
    input_pull_back(x.shape, u, out, stride, dilation) + input_pull_back(x.shape, kernel, moved, stride, dilation),
    kernel_pull_back(v, out, k, stride, dilation) + kernel_pull_back(x, moved, k, stride, dilation),
  )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("k", "stride", "dilation", "edges", "shared", "size"), SECOND_ORDER)
def test_forward_over_reverse(form: str, k: int, stride: int, dilation: int, edges: int, shared: bool, size: tuple[int, int]):
  x, kernel, v, u = draw(k, edges, shared, size)

  def product(x, kernel, v, u):
    return jax.jvp(lambda x, kernel: gradient(form, stride, dilation)(x, kernel)[0], (x, kernel), (v, u))[1]

  for found, expected in zip(quick_jit(product)(x, kernel, v, u), curvature_product(x, kernel, v, u, stride, dilation), strict=True):
    close(found, expected)


@pytest.mark.parametrize("form", FORMS)
def test_reverse_over_reverse(form: str):
  x, kernel, v, u = draw(3, 2, True, (5, 6))

  def along(x, kernel):
    x_gradient, kernel_gradient = gradient(form, 2, 1)(x, kernel)[0]
    return jnp.vdot(x_gradient, v) + jnp.vdot(kernel_gradient, u)

  for found, expected in zip(quick_jit(jax.grad(along, (0, 1)))(x, kernel), curvature_product(x, kernel, v, u, 2, 1), strict=True):
    close(found, expected)


@pytest.mark.parametrize(("form", "axes"), [("library", (0, 0)), ("windows", (0, 0)), ("windows", (None, 0)), ("windows", (0, None))])
def test_vmap_over_an_outer_axis(form: str, axes: tuple[int | None, int | None]):
  x, kernel, other_x, other_kernel = draw(3, 2, True, (5, 6))
  arguments = [np.stack(pair) if axis == 0 else pair[0] for axis, pair in zip(axes, ((x, other_x), (kernel, other_kernel)), strict=True)]
  (x_gradients, kernel_gradients), outs = quick_jit(jax.vmap(gradient(form, 2, 1), axes))(*arguments)
  for seed in range(2):
    one_x, one_kernel = (array[seed] if axis == 0 else array for axis, array in zip(axes, arguments, strict=True))
    expected = convolved(one_x.astype(np.float64), one_kernel.astype(np.float64), 2, 1)
    close(outs[seed], expected)
    close(x_gradients[seed], input_pull_back(x.shape, one_kernel.astype(np.float64), expected, 2, 1))
    close(kernel_gradients[seed], kernel_pull_back(one_x.astype(np.float64), expected, 3, 2, 1))


def test_the_cpu_takes_windows():
  x, kernel, _, _ = draw(3, 1, True, (4, 4))
  text = jax.jit(depthwise).lower(x, kernel).as_text()
  assert "stablehlo.convolution" not in text
  assert "stablehlo.convolution" in jax.jit(functools.partial(depthwise, form="library")).lower(x, kernel).as_text()


# Dense convolutions: the library's is the reference, its own derivatives included.


@pytest.mark.parametrize("kernel, stride, padding, size", [(1, 1, 0, (4, 5)), (3, 1, 1, (5, 4)), (3, 2, 1, (7, 6)), (2, 1, 0, (4, 4))])
def test_dense_forms_agree_with_all_derivatives(kernel, stride, padding, size):
  rng = np.random.default_rng(0)
  x, k = (rng.normal(size=shape).astype(np.float32) for shape in ((2, *size, 3), (kernel, kernel, 3, 4)))
  tangent = rng.normal(size=k.shape).astype(np.float32)

  def loss(form, x, k):
    return jnp.tanh(dense(x, k, stride=stride, padding=padding, form=form)).sum()

  results = []
  for form in ("taps", "library"):
    gradient = jax.grad(functools.partial(loss, form), (0, 1))
    results.append(quick_jit(lambda x, k, g=gradient: (g(x, k), jax.jvp(lambda k: g(x, k), (k,), (tangent,))[1]))(x, k))
  for taps, library in zip(jax.tree.leaves(results[0]), jax.tree.leaves(results[1]), strict=True):
    np.testing.assert_allclose(taps, library, rtol=1e-4, atol=1e-5)


# Poolings, products and sums.


def pooled(name: str, x: jax.Array, stride: int) -> jax.Array:
  """The library's pooling, one window over both axes."""
  window = functools.partial(
    jax.lax.reduce_window,
    window_dimensions=(1, 1, 3, 3, 1),
    window_strides=(1, 1, stride, stride, 1),
    padding=[(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)],
  )
  if name == "max":
    return window(x, -np.inf, jax.lax.max)
  return window(x, 0.0, jax.lax.add) / window(jnp.ones_like(x), 0.0, jax.lax.add)


@pytest.mark.parametrize("size", [(4, 4), (5, 6), (1, 2), (7, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "ours"), [("max", max_pool), ("avg", avg_pool)])
def test_poolings_are_those_of_the_library_with_all_derivatives(name, ours, stride, size):
  rng = np.random.default_rng(0)
  x, v = (jnp.asarray(rng.normal(size=(2, 3, *size, 2)), jnp.float32) for _ in range(2))
  results = []
  for pool in (lambda x: ours(x, stride), lambda x: pooled(name, x, stride)):
    gradient = jax.grad(lambda x, pool=pool: (pool(x) ** 3).sum())
    results.append(quick_jit(lambda x, v, pool=pool, gradient=gradient: (pool(x), gradient(x), jax.jvp(gradient, (x,), (v,))[1]))(x, v))
  jax.tree.map(close, *results)


def test_the_first_of_equal_neighbours_has_the_gradient_of_a_maximum():
  row = jnp.asarray([1.0, 3.0, 3.0, 0.0, 2.0]).reshape(1, 1, 1, 5, 1)
  g = jnp.asarray([1.0, 10.0, 100.0, 1000.0, 10000.0]).reshape(row.shape)
  _, pull_back = jax.vjp(lambda x: max_pool(x, 1), row)
  np.testing.assert_allclose(pull_back(g)[0].ravel(), [0, 1 + 10 + 100, 1000, 0, 10000])


def test_the_gradient_of_a_maximum_compares_no_values():
  """XLA computes an input once per fusion, not always to the same bits; a comparison of the two then loses gradients without a word."""
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 6, 6, 2)), jnp.float32)
  _, pull_back = jax.vjp(lambda x: max_pool(x, 2), x)
  assert {leaf.dtype for leaf in jax.tree.leaves(pull_back)} == {np.dtype("int8")}


def test_the_forms_of_a_product_agree_with_all_derivatives():
  rng = np.random.default_rng(0)
  x, kernel, v, u = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 2, 3, 5, 4), (3, 4, 6)) * 2)
  results = []
  for form in ("parts", "library"):
    gradient = jax.grad(lambda x, kernel, form=form: (pointwise(x, kernel, form) ** 3).sum(), (0, 1))
    second = jax.jvp(gradient, (x, kernel), (v, u))[1]
    results.append((pointwise(x, kernel, form), gradient(x, kernel), second))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3), *results)
  np.testing.assert_allclose(results[0][0], np.einsum("ebhwc,ecd->ebhwd", x, kernel), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 6, 16])
def test_the_sum_over_positions(batch):
  x = np.random.default_rng(0).normal(size=(2, batch, 3, 5, 4)).astype(np.float32)
  expected = x.astype(np.float64).sum((1, 2, 3))
  np.testing.assert_allclose(stacks.sums_over_positions(x)[0], expected, rtol=1e-4, atol=1e-4)
  twice = stacks.sums_at_once([x, 2 * x], stacks.POSITIONS)
  np.testing.assert_allclose(twice, [expected, 2 * expected], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stride", "edges", "shared"), [(1, 2, False), (2, 3, True), (1, 1, True)])
def test_the_convolutions_of_several_operations_are_those_of_each(stride, edges, shared):
  rng = np.random.default_rng(0)
  sizes, dilations = (5, 3, 3, 7, 5), (1, 1, 2, 1, 2)
  inputs = [rng.normal(size=(1 if shared else edges, 2, 5, 6, 2)).astype(np.float32) for _ in sizes]
  kernels = [rng.normal(size=(edges, size, size, 2)).astype(np.float32) for size in sizes]
  g = rng.normal(size=(edges * len(sizes), 2, -(-5 // stride), 6 // stride, 2)).astype(np.float32)

  def each(inputs, kernels):
    parts = zip(inputs, kernels, dilations, strict=True)
    return stacks.joined([depthwise(x, kernel, stride=stride, dilation=dilation, form="library") for x, kernel, dilation in parts])

  forms = [functools.partial(depthwise_of_several, stride=stride, dilations=dilations, form=form) for form in FORMS]
  of_each, *others = [quick_jit(functools.partial(_with_pull_back, form))(inputs, kernels, g) for form in (each, *forms)]
  for other in others:
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), other, of_each)


def _with_pull_back(form, inputs, kernels, g):
  out, pull_back = jax.vjp(form, inputs, kernels)
  return out, pull_back(g)
