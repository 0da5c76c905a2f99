"""The optimizers against steps written out as PyTorch takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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


@pytest.mark.parametrize("epoch", [0, 1, 25, 49])
def test_cosine_falls_from_the_peak_to_the_final_rate_by_epoch(epoch):
  expected = 0.001 + (0.025 - 0.001) * (1 + np.cos(np.pi * epoch / 50)) / 2  # CosineAnnealingLR(T_max=50, eta_min=0.001)
  assert optimizers.cosine(0.025, 0.001, epoch, 50) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
  "schedule, epochs, expected",
  [
    (optimizers.steps, 300, {0: 1, 149: 1, 150: 0.1, 224: 0.1, 225: 0.01, 299: 0.01}),
    (optimizers.steps, 7, {3: 1, 4: 0.1, 5: 0.1, 6: 0.01}),
    (optimizers.wide_resnet_steps, 200, {0: 1, 59: 1, 60: 0.2, 119: 0.2, 120: 0.04, 159: 0.04, 160: 0.008, 199: 0.008}),
    (optimizers.wide_resnet_steps, 1, {0: 1}),
  ],
)
def test_stepwise_schedules_fall_at_the_published_epochs(schedule, epochs, expected):
  for epoch, factor in expected.items():
    assert schedule(0.4, 0.0, epoch, epochs) == pytest.approx(0.4 * factor)


def test_cosine_ends_in_the_final_rate():
  assert optimizers.cosine(0.025, 0.001, 50, 50) == pytest.approx(0.001, rel=1e-12)
  assert optimizers.cosine(20.0, 20.0, 7, 50) == 20.0
