"""ShakeDrop against the formulas of its paper, with the draws known, at every granularity."""

import jax
import numpy as np
import pytest

from dnas.core import keys
from dnas.core.errors import FieldError
from dnas.nets.models.pyramidnet import SHARED, PyramidNet, ShakeDrop

KEY = jax.random.key(4)
SHAPE = (64, 3, 5, 4)
OWN = {"batch": (1, 1, 1, 1), "image": (64, 1, 1, 1), "pixel": SHAPE}  # the shape of the numbers that are drawn
X, G = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)


def draws(keep, gate, noise):
  b = np.asarray(jax.random.uniform(keys.derive(KEY, "gate"), OWN[gate]) < keep, np.float64)
  alpha = 2 * np.asarray(jax.random.uniform(keys.derive(KEY, "alpha"), OWN[noise]), np.float64) - 1
  return b, alpha, np.asarray(jax.random.uniform(keys.derive(KEY, "beta"), OWN[noise]), np.float64)


@pytest.mark.parametrize("gate", OWN)
@pytest.mark.parametrize("noise", OWN)
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.98])
def test_forward_and_backward_are_the_formulas_of_the_paper(gate, noise, keep):
  b, alpha, beta = draws(keep, gate, noise)
  out, pull_back = jax.vjp(lambda x: ShakeDrop(gate, noise)(x, np.float32(keep), KEY, train=True), X)
  np.testing.assert_allclose(out, (b + alpha - b * alpha) * X, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(pull_back(G)[0], (b + beta - b * beta) * G, rtol=1e-5, atol=1e-6)


def test_the_granularities_are_those_of_the_settings():
  assert set(SHARED) == set(OWN)


@pytest.mark.parametrize("gate", OWN)
@pytest.mark.parametrize("noise", OWN)
def test_inference_is_the_expectation_of_training(gate, noise):
  shakedrop, ones, keep = ShakeDrop(gate, noise), np.ones((4, 2, 2, 1), np.float32), np.float32(0.7)
  sampled = jax.vmap(lambda key: shakedrop(ones, keep, key, train=True))(jax.random.split(KEY, 4000))
  np.testing.assert_allclose(np.mean(sampled, 0), 0.7 * ones, atol=0.05)
  np.testing.assert_allclose(shakedrop(X, keep, None, train=False), 0.7 * X, rtol=1e-6)
  np.testing.assert_array_equal(shakedrop(X, keep, KEY, train=False), shakedrop(X, keep, None, train=False))
  np.testing.assert_array_equal(shakedrop(X, keep, None, train=True), X)


def test_more_channels_do_not_change_the_draws_of_the_first_ones():
  for noise in OWN:
    shakedrop = ShakeDrop("pixel", noise)
    narrow, wide = (shakedrop(np.ones((2, 3, 3, c), np.float32), np.float32(0.5), KEY, train=True, channels=7) for c in (4, 7))
    np.testing.assert_array_equal(narrow, wide[..., :4])


@pytest.mark.parametrize(
  "changes, sentence",
  [
    ({"depth": 271}, r"depth is 271; blocks with bottlenecks make 9 n \+ 2 layers, so give for instance 272"),
    ({"depth": 109, "bottleneck": False}, r"depth is 109; blocks without bottlenecks make 6 n \+ 2 layers, so give for instance 110"),
    ({"depth": 2}, r"depth is 2; .* 11"),
    ({"depth": -7}, r"depth is -7; .* 11"),
    ({"alpha": -1}, "alpha is -1; it must be zero or more"),
    ({"shakedrop": 1.0}, "shakedrop is 1.0; it must be at least 0 and below 1"),
    ({"shakedrop_gate": "imag"}, "shakedrop_gate is imag; did you mean 'image'"),
    ({"shakedrop_noise": "channel"}, "shakedrop_noise is channel; it can be batch, image, pixel"),
  ],
)
def test_settings_that_no_network_has_are_refused(changes, sentence):
  with pytest.raises(FieldError, match=sentence):
    PyramidNet(**changes)
