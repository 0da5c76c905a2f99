"""Relaxations, the exponentiated gradient, perturbations and partial channels, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.cells import functional
from dnas.core.space import CellSpace
from dnas.supernet import relaxations
from dnas.supernet.arch_optimizers import exponentiated_gradient
from dnas.supernet.edges import MixedEdges
from dnas.supernet.perturbations import Adversarial, UniformNoise, Unperturbed
from dnas.supernet.relaxations import Concrete, Dirichlet, EdgeNormalized, GumbelOneHot, Relaxation, Sigmoid, Simplex, SkipDropout

SPACE = CellSpace("small", ("normal", "reduce"), ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"), num_nodes=2)
KEY = jax.random.key(3)
KINDS = {
  "softmax": Relaxation(),
  "gumbel": GumbelOneHot(),
  "concrete": Concrete(),
  "dirichlet": Dirichlet(),
  "sigmoid": Sigmoid(SPACE),
  "simplex": Simplex(),
  "edges": EdgeNormalized(Relaxation(), SPACE),
  "edges on the simplex": EdgeNormalized(Simplex(), SPACE),
  "skip dropout": SkipDropout(Relaxation(), SPACE, 0.3),
}
EVERY = pytest.mark.parametrize("kind", KINDS)
SIZES = np.array([2, 2, 3, 3, 3])  # of edges that enter the target of each row
TARGETS = np.array([0, 0, 1, 1, 1])


def many(relaxation, arch, progress, samples=4000):
  """Samples of the normal cell's mixture, [samples, edges, operations]."""
  draw = jax.jit(jax.vmap(lambda key: relaxation(arch, key, jnp.float32(progress))["normal"]))
  return np.asarray(draw(jax.random.split(KEY, samples)))


@EVERY
def test_weights_of_every_cell_from_the_key_alone(kind):
  relaxation = KINDS[kind]
  arch = relaxation.init(SPACE, KEY, 0.1)
  first, again = (relaxation(arch, KEY, jnp.float32(0.5)) for _ in range(2))
  assert set(first) == set(SPACE.cells) == set(relaxation.mean(arch))
  for cell in SPACE.cells:
    assert first[cell].shape == SPACE.arch_shape() and first[cell].dtype == jnp.float32 and (first[cell] == again[cell]).all()
    assert (np.asarray(first[cell]) >= 0).all()
  assert relaxation.penalty(arch).shape == ()
  assert all(np.std(np.asarray(values)) > 0 for values in arch.values())


@EVERY
def test_every_parameter_has_a_gradient(kind):
  relaxation = KINDS[kind]
  arch = relaxation.init(SPACE, KEY, 0.5)
  factors = np.random.default_rng(0).normal(size=SPACE.arch_shape()).astype(np.float32)

  def score(arch):
    mixture = relaxation(arch, KEY, jnp.float32(0.2))
    return sum((factors * mixture[cell]).sum() for cell in SPACE.cells)

  gradient = jax.grad(score)(arch)
  assert all(np.isfinite(g).all() and np.abs(np.asarray(g)).max() > 1e-6 for g in gradient.values()) and set(gradient) == set(arch)


@EVERY
def test_what_weights_sum_to(kind):
  relaxation = KINDS[kind]
  arch = relaxation.init(SPACE, KEY, 0.3)
  sums = np.asarray(relaxation.mean(arch)["normal"].sum(1))
  if kind.startswith("edges"):
    np.testing.assert_allclose([sums[TARGETS == 0].sum(), sums[TARGETS == 1].sum()], 1, rtol=1e-5)
    assert np.ptp(sums * SIZES) > 0.01
  elif kind != "sigmoid":
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


def test_gumbel_draws_one_operation_with_the_probabilities_of_the_softmax():
  arch = Relaxation().init(SPACE, KEY, 1.0)
  samples = many(GumbelOneHot(), arch, 0.5)
  np.testing.assert_allclose(samples.max(-1), 1, atol=1e-6)
  np.testing.assert_allclose(samples.mean(0), Relaxation().mean(arch)["normal"], atol=0.03)


def test_the_gradient_of_gumbel_is_that_of_the_soft_sample():
  arch = {"normal": jnp.asarray([[0.3, -0.2, 0.1, 0.5]])}
  noise = jax.random.gumbel(jax.random.split(KEY, 1)[0], (1, 4))
  factors = jnp.asarray([[1.0, 2, 3, 4]])
  for progress, temperature in ((0.0, 10.0), (0.5, 5.05), (1.0, 0.1)):
    hard = jax.grad(lambda arch, p=progress: (factors * GumbelOneHot()(arch, KEY, jnp.float32(p))["normal"]).sum())(arch)
    soft = jax.grad(lambda arch, t=temperature: (factors * jax.nn.softmax((arch["normal"] + noise) / t, -1)).sum())(arch)
    np.testing.assert_allclose(hard["normal"], soft["normal"], rtol=1e-4, atol=1e-6)


def test_the_concrete_distribution_hardens():
  arch = Relaxation().init(SPACE, KEY, 0.1)
  early, late = (many(Concrete(), arch, progress).max(-1).mean() for progress in (0.0, 1.0))
  assert early < 0.75 and late > 0.95
  noise = jax.random.gumbel(jax.random.split(KEY, 2)[0], SPACE.arch_shape())
  expected = jax.nn.softmax((arch["normal"] + noise) / (0.03**0.5), -1)
  np.testing.assert_allclose(Concrete()(arch, KEY, jnp.float32(0.5))["normal"], expected, rtol=1e-4)


def test_the_mean_and_spread_of_dirichlet_samples():
  arch = {"normal": jnp.asarray([[0.0, 1.0, -1.0, 2.0]])}
  concentration = np.array([1.0, 2.0, np.exp(-1), 3.0])
  samples = many(Dirichlet(), arch, 0.0)[:, 0]
  mean = concentration / concentration.sum()
  np.testing.assert_allclose(Dirichlet().mean(arch)["normal"][0], mean, rtol=1e-6)
  np.testing.assert_allclose(samples.mean(0), mean, atol=0.015)
  np.testing.assert_allclose(samples.var(0), mean * (1 - mean) / (1 + concentration.sum()), rtol=0.12)


def test_the_gradient_of_dirichlet_samples_is_that_of_their_mean_on_average():
  arch = {"normal": jnp.asarray([[0.0, 1.0, -1.0, 2.0]])}
  keys = jax.random.split(KEY, 4000)
  sampled = jax.grad(lambda arch: jax.vmap(lambda key: Dirichlet()(arch, key, 0.0)["normal"][0, 3])(keys).mean())(arch)
  exact = jax.grad(lambda arch: Dirichlet().mean(arch)["normal"][0, 3])(arch)
  np.testing.assert_allclose(sampled["normal"], exact["normal"], atol=0.02)


def test_the_zero_one_loss_pushes_sigmoids_apart_and_leaves_none_alone():
  arch = {"normal": jnp.asarray([[5.0, 0.1, -0.1, 0.0]])}
  relaxation = Sigmoid(SPACE, zero_one=10.0)
  weights = 1 / (1 + np.exp([-0.1, 0.1, 0.0]))
  assert float(relaxation.penalty(arch)) == pytest.approx(-10 * ((weights - 0.5) ** 2).mean(), rel=1e-4)
  gradient = np.asarray(jax.grad(relaxation.penalty)(arch)["normal"][0])
  assert gradient[0] == 0 and gradient[1] < 0 < gradient[2]  # a step down the gradient moves both away from 1/2


def test_skip_dropout_keeps_the_mean_and_fades():
  arch = Relaxation().init(SPACE, KEY, 0.1)
  plain = np.asarray(Relaxation().mean(arch)["normal"])
  samples = many(SkipDropout(Relaxation(), SPACE, 0.6), arch, 0.0)
  dropped = samples[:, :, 1] == 0
  assert dropped.mean() == pytest.approx(0.6, abs=0.02) and 0.2 < (dropped[:, 0] & dropped[:, 1]).mean() < 0.5  # each edge for itself
  np.testing.assert_allclose(samples.mean(0), plain, atol=0.02)
  np.testing.assert_allclose(samples[:, :, 2:], np.broadcast_to(plain[:, 2:], samples[:, :, 2:].shape), rtol=1e-5)
  np.testing.assert_allclose(many(SkipDropout(Relaxation(), SPACE, 0.6), arch, 1.0, 5)[0], plain, rtol=1e-5)


def test_restriction_gives_the_weight_of_what_is_out_to_the_others():
  mixture = {"normal": jnp.asarray([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0], [0.25] * 4])}
  allowed = {"normal": jnp.asarray([[1.0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]])}
  expected = [[0.125, 0, 0.375, 0.5], [0, 0, 1, 0], [0, 0, 0, 0]]
  np.testing.assert_allclose(relaxations.restrict(mixture, allowed)["normal"], expected, rtol=1e-6)
  same = relaxations.restrict(mixture, {"normal": jnp.ones((3, 4))})["normal"]
  np.testing.assert_allclose(same, mixture["normal"], rtol=1e-6)


# The exponentiated gradient.


def test_exponentiated_gradient_against_its_formula():
  relaxation = EdgeNormalized(Simplex(), SPACE)
  arch = relaxation.init(SPACE, KEY, 0.3)
  gradient = {name: jax.random.normal(jax.random.key(5), p.shape) for name, p in arch.items()}
  optimizer = exponentiated_gradient(0.7, SPACE)
  updates, _ = optimizer.update(gradient, optimizer.init(arch), arch)
  after = optax.apply_updates(arch, updates)
  for name, point in arch.items():
    raised = np.asarray(point, np.float64) * np.exp(-0.7 * np.asarray(gradient[name], np.float64))
    if point.ndim == 2:
      expected = raised / raised.sum(1, keepdims=True)
    else:
      expected = raised / np.array([raised[TARGETS == target].sum() for target in TARGETS])
    np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-7)


def test_exponentiated_gradient_stays_finite_where_the_plain_form_overflows():
  optimizer = exponentiated_gradient(1.0, SPACE)
  arch = {"normal": jnp.asarray([[1.0, 0.0, 0.0, 0.0]])}
  updates, _ = optimizer.update({"normal": jnp.asarray([[1e4, 0.0, 0.0, -1e4]])}, optimizer.init(arch), arch)
  after = np.asarray(optax.apply_updates(arch, updates)["normal"])
  np.testing.assert_allclose(after, [[0, 0, 0, 1]], atol=1e-6)


# Perturbations.


def test_perturbations_stay_in_their_cube_and_grow():
  arch = {"normal": jnp.zeros((5, 4)), "reduce": jnp.ones((5, 4))}

  def gradient(arch):
    return {name: jnp.where(np.arange(4) % 2, 1.0, -1.0)[None] * jnp.ones_like(value) for name, value in arch.items()}

  assert Unperturbed()(arch, KEY, 1.0, gradient) is arch
  for progress in (0.0, 0.5, 1.0):
    noisy = UniformNoise(0.4)(arch, KEY, progress, None)
    away = np.asarray(noisy["normal"])
    assert np.abs(away).max() <= 0.4 * progress + 1e-6 and (progress == 0 or np.abs(away).max() > 0.3 * progress)
    worst = Adversarial(0.4, steps=3)(arch, KEY, progress, gradient)
    np.testing.assert_allclose(worst["reduce"] - arch["reduce"], np.tile([-1, 1, -1, 1], (5, 1)) * 0.4 * progress, atol=1e-6)


def test_the_adversary_evaluates_the_gradient_once_a_step():
  calls = []

  def gradient(arch):
    calls.append(arch)
    return arch

  Adversarial(0.1, steps=7)({"normal": jnp.ones((2, 2))}, KEY, 1.0, gradient)
  assert len(calls) == 7


# Partial channels.


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_pass_by_the_operations_and_are_shuffled(stride):
  rng = np.random.default_rng(0)
  module = MixedEdges(SPACE, 0, 8, stride, rng, partial_channels=4)
  graph, variables = functional.split(module)
  x = rng.normal(size=(2, 5, 5, 8)).astype(np.float32)
  mixture = np.zeros((2, 4), np.float32)
  mixture[0, 0], mixture[1, 2] = 0.75, 0.5  # none on the first edge, max pooling on the second
  out, _ = functional.apply(graph, variables, x, np.split(mixture, 2), train=True)
  side = 5 if stride == 1 else 3
  padded = np.full((2, 6, 6, 8), -np.inf, np.float32)
  padded[:, :5, :5] = x
  rest = x if stride == 1 else padded.reshape(2, 3, 2, 3, 2, 8).max((2, 4))
  assert {target: value.shape for target, value in out.items()} == {2: (2, side, side, 8), 3: (2, side, side, 8)}
  order = np.array([0, 2, 4, 6, 1, 3, 5, 7])  # groups of two channels, interleaved: channel c of group g stands at 4 c + g
  whole = np.concatenate([np.zeros((2, side, side, 2), np.float32), 0.75 * rest[..., 2:]], -1)
  np.testing.assert_allclose(out[2], whole[..., order], rtol=1e-5)
  np.testing.assert_allclose(np.asarray(out[3])[..., [1, 2, 3, 5, 6, 7]], 0.5 * rest[..., [2, 4, 6, 3, 5, 7]], rtol=1e-5)
  weights = jax.tree.leaves(variables.weights)
  assert {leaf.shape[-1] for leaf in weights if leaf.ndim > 2} <= {1, 2}  # the operations have a quarter of the channels
