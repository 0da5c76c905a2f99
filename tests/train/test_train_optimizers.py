"""The optimizers against steps written out as PyTorch takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.core import tree
from dnas.supernet.weight_step import pull_back_step
from dnas.train import optimizers


def run(optimizer, parameters, gradients, rates=None):
  parameters, state = jnp.asarray(parameters, jnp.float32), optimizer.init(jnp.asarray(parameters, jnp.float32))
  for index, gradient in enumerate(gradients):
    if rates:
      state = optimizers.with_learning_rate(state, rates[index])
    updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, parameters)
    parameters = optax.apply_updates(parameters, updates)
  return np.asarray(parameters)


GRADIENTS = np.array([[3.0, -4.0, 12.0], [0.1, 0.2, -0.2], [-6.0, 0.0, 8.0]])
START = np.array([1.0, -2.0, 0.5])


def test_sgd_clips_then_decays_then_adds_momentum_then_scales():
  rates, w, buffer = [0.1, 0.1, 0.05], START.copy(), np.zeros(3)
  for rate, g in zip(rates, GRADIENTS, strict=True):
    g = g * min(1.0, 5.0 / np.linalg.norm(g))  # torch.nn.utils.clip_grad_norm_
    g = g + 0.3 * w  # weight_decay of torch.optim.SGD: coupled, and not clipped
    buffer = 0.9 * buffer + g
    w = w - rate * buffer
  optimizer = optimizers.sgd(momentum=0.9, weight_decay=0.3, gradient_clip=5.0)
  np.testing.assert_allclose(run(optimizer, START, GRADIENTS, rates), w, rtol=1e-6)


def test_sgd_without_clipping():
  optimizer = optimizers.sgd(momentum=0.0, weight_decay=0.0, gradient_clip=0.0)
  np.testing.assert_allclose(run(optimizer, START, GRADIENTS[:1], [1.0]), START - GRADIENTS[0], rtol=1e-6)
  assert len(jax.tree.leaves(optimizer.init(START))) == 1  # the learning rate; no moments of zero


def test_the_learning_rate_is_zero_until_it_is_set():
  optimizer = optimizers.sgd(momentum=0.9, weight_decay=0.3, gradient_clip=5.0)
  np.testing.assert_array_equal(run(optimizer, START, GRADIENTS), START.astype(np.float32))


def test_the_clip_has_a_derivative_at_a_gradient_of_zero():
  optimizer = optimizers.sgd(momentum=0.9, weight_decay=0.0, gradient_clip=5.0)
  state = optimizers.with_learning_rate(optimizer.init(jnp.zeros(3)), 0.1)
  derivative = jax.jacobian(lambda gradient: optimizer.update(gradient, state, jnp.zeros(3))[0])(jnp.zeros(3))
  np.testing.assert_allclose(derivative, -0.1 * np.eye(3), rtol=1e-6)


def test_adam_puts_the_decay_into_the_gradient():
  w, m, v = START.copy(), np.zeros(3), np.zeros(3)
  for t, g in enumerate(GRADIENTS, 1):
    g = g + 1e-3 * w
    m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g * g
    w = w - 3e-4 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
  optimizer = optimizers.adam(3e-4, beta1=0.5, beta2=0.999, weight_decay=1e-3)
  np.testing.assert_allclose(run(optimizer, START, GRADIENTS), w, rtol=1e-6)


def test_clipped_adam_clips_before_the_decay():
  w, m, v = START.copy(), np.zeros(3), np.zeros(3)
  for t, g in enumerate(GRADIENTS, 1):
    g = g * min(1, 0.5 / np.linalg.norm(g)) + 1e-3 * w
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    w = w - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
  optimizer = optimizers.of_weights("adam", momentum=0.9, weight_decay=1e-3, gradient_clip=0.5)
  np.testing.assert_allclose(run(optimizer, START, GRADIENTS, rates=[0.1] * 3), w, rtol=1e-5)


def test_a_step_of_adam_has_finite_derivatives_where_the_gradient_was_always_zero():
  optimizer = optimizers.of_weights("adam", momentum=0.0, weight_decay=0.0, gradient_clip=0.0)
  weights, gradient = jnp.ones(3), jnp.array([0.0, 1.0, 0.0])
  state = optimizers.with_learning_rate(optimizer.init(weights), 0.1)
  bars = pull_back_step(optimizer, gradient, state, weights, jnp.ones(3), tree.zeros_like(state))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(bars))
  np.testing.assert_allclose(bars[1], np.ones(3))


@pytest.mark.parametrize("epoch", [0, 1, 25, 49])
def test_cosine_falls_from_the_peak_to_the_final_rate_by_epoch(epoch):
  expected = 0.001 + (0.025 - 0.001) * (1 + np.cos(np.pi * epoch / 50)) / 2  # CosineAnnealingLR(T_max=50, eta_min=0.001)
  assert optimizers.cosine(0.025, 0.001, epoch, 50) == pytest.approx(expected, rel=1e-12)


def test_cosine_ends_in_the_final_rate():
  assert optimizers.cosine(0.025, 0.001, 50, 50) == pytest.approx(0.001, rel=1e-12)
  assert optimizers.cosine(20.0, 20.0, 7, 50) == 20.0
