"""The relaxations of methods and remedies, and the exponentiated gradient, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.core import keys
from dnas.core.space import CellSpace
from dnas.search.gradient.methods.drnas import Dirichlet
from dnas.search.gradient.methods.fair_darts import Sigmoid
from dnas.search.gradient.methods.gaea import EdgesOnSimplex, Simplex, exponentiated_gradient
from dnas.search.gradient.methods.gdas import GumbelOneHot
from dnas.search.gradient.methods.pc_darts import EdgeNormalized
from dnas.search.gradient.methods.snas import Concrete
from dnas.search.gradient.remedies import SkipDropout
from dnas.supernet import relaxations
from dnas.supernet.relaxations import Relaxation

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
  "edges on the simplex": EdgesOnSimplex(Simplex(), SPACE),
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
  noise = jax.random.gumbel(keys.derive(KEY, "normal"), (1, 4))
  factors = jnp.asarray([[1.0, 2, 3, 4]])
  for progress, temperature in ((0.0, 10.0), (0.5, 5.05), (1.0, 0.1)):
    hard = jax.grad(lambda arch, p=progress: (factors * GumbelOneHot()(arch, KEY, jnp.float32(p))["normal"]).sum())(arch)
    soft = jax.grad(lambda arch, t=temperature: (factors * jax.nn.softmax((arch["normal"] + noise) / t, -1)).sum())(arch)
    np.testing.assert_allclose(hard["normal"], soft["normal"], rtol=1e-4, atol=1e-6)


def test_the_concrete_distribution_hardens():
  arch = Relaxation().init(SPACE, KEY, 0.1)
  early, late = (many(Concrete(), arch, progress).max(-1).mean() for progress in (0.0, 1.0))
  assert early < 0.75 and late > 0.95
  noise = jax.random.gumbel(keys.derive(KEY, "normal"), SPACE.arch_shape())
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


@EVERY
def test_weights_of_edges_are_a_factor_of_those_of_their_operations(kind):
  relaxation = KINDS[kind]
  arch = relaxation.init(SPACE, KEY, 0.5)
  mixture, edges = relaxation(arch, KEY, jnp.float32(0.5)), relaxation.edges(arch)
  for cell in SPACE.cells:
    assert edges[cell].shape == (len(SPACE.edges),)
    expected = [np.asarray(edges[cell])[TARGETS == target].sum() for target in (0, 1)]
    np.testing.assert_allclose(expected, [1, 1] if kind.startswith("edges") else [2, 3], rtol=1e-6)
    if kind not in ("sigmoid", "skip dropout"):  # whose operations do not sum to one
      np.testing.assert_allclose(np.asarray(mixture[cell]).sum(1), edges[cell], rtol=1e-5)


def test_channels_that_pass_by_do_not_know_of_dropped_skip_connections():
  relaxation = SkipDropout(Relaxation(), SPACE, 0.9)
  arch = relaxation.init(SPACE, KEY, 0.5)
  mixture = relaxation(arch, KEY, jnp.float32(0))
  whole = relaxations.with_edges(SPACE, mixture, relaxation.edges(arch), relaxations.everything(SPACE))
  assert (whole["normal edges"] == 1).all() and np.abs(np.asarray(mixture["normal"]).sum(1) - 1).max() > 0.1


def test_dirichlet_by_the_softmax_of_its_parameters():
  arch = Dirichlet().init(SPACE, KEY, 1.0)
  for cell in SPACE.cells:
    np.testing.assert_allclose(Dirichlet(softmax=True).mean(arch)[cell], jax.nn.softmax(arch[cell], -1), rtol=1e-6)
    assert (Dirichlet(softmax=True)(arch, KEY, 1.0)[cell] == Dirichlet()(arch, KEY, 1.0)[cell]).all()


def test_a_simplex_that_begins_in_its_middle():
  arch = EdgesOnSimplex(Simplex(uniform_start=True), SPACE).init(SPACE, KEY, 5.0)
  for cell in SPACE.cells:
    np.testing.assert_allclose(arch[cell], 0.25, rtol=1e-6)
    np.testing.assert_allclose(arch[f"{cell} edges"], 1 / SIZES, rtol=1e-6)


# The exponentiated gradient.


def test_exponentiated_gradient_against_its_formula():
  relaxation = EdgesOnSimplex(Simplex(), SPACE)
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


def test_exponentiated_gradient_with_a_smallest_weight():
  arch = {"normal": jnp.asarray([[0.5, 0.25, 0.25, 0.0]]), "normal edges": jnp.asarray([1.0, 0.0, 0.5, 0.5, 0.0])}
  gradient = {"normal": jnp.asarray([[-30.0, 0.0, 0.0, 0.0]]), "normal edges": jnp.zeros(5)}
  optimizer = exponentiated_gradient(1.0, SPACE, smallest=1e-5)
  after = optax.apply_updates(arch, optimizer.update(gradient, optimizer.init(arch), arch)[0])
  np.testing.assert_allclose(after["normal"], [[1 - 3e-5, 1e-5, 1e-5, 1e-5]], rtol=1e-3)
  np.testing.assert_allclose(after["normal edges"], [1 - 1e-5, 1e-5, 0.5, 0.5, 1e-5], rtol=1e-4)
