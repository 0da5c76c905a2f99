"""Relaxations, the exponentiated gradient, perturbations and partial channels, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.cells import functional
from dnas.core import keys
from dnas.core.space import CellSpace
from dnas.supernet import relaxations
from dnas.supernet.arch_optimizers import exponentiated_gradient
from dnas.supernet.discretize import edges_of, one_hot
from dnas.supernet.edges import EdgeOptions, EdgeWeights, MixedActivations, MixedEdges
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
    gradient = {name: jnp.where(np.arange(4) % 2, 1.0, -1.0)[None] * jnp.ones_like(value) for name, value in arch.items()}
    return sum((gradient[name] * value).sum() for name, value in arch.items()), gradient

  assert Unperturbed()(arch, KEY, 1.0, gradient) is arch
  for progress in (0.0, 0.5, 1.0):
    noisy = UniformNoise(0.4)(arch, KEY, progress, None)
    away, radius = np.asarray(noisy["normal"]), 0.03 + 0.37 * progress
    assert 0.75 * radius < np.abs(away).max() <= radius + 1e-6
    worst = Adversarial(0.4, steps=3)(arch, KEY, progress, gradient)
    np.testing.assert_allclose(worst["reduce"] - arch["reduce"], np.tile([-1, 1, -1, 1], (5, 1)) * radius, atol=1e-6)


def test_the_adversary_evaluates_once_a_step_and_compares_its_end_with_the_beginning():
  calls = []

  def gradient(arch):
    calls.append(arch)
    return arch["normal"].sum(), jax.tree.map(jnp.ones_like, arch)

  Adversarial(0.1, steps=7)({"normal": jnp.ones((2, 2))}, KEY, 1.0, gradient)
  assert len(calls) == 7 + 2


def test_an_ascent_that_ends_lower_is_given_up():
  arch = {"normal": jnp.ones((2, 2))}
  near = Adversarial(0.1, steps=2)(arch, KEY, 1.0, lambda arch: (-arch["normal"].sum(), jax.tree.map(jnp.ones_like, arch)))
  assert (near["normal"] == arch["normal"]).all()


# Partial channels.


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_pass_by_the_operations_and_are_shuffled(stride):
  rng = np.random.default_rng(0)
  module = MixedEdges(SPACE, 0, 8, stride, rng, EdgeOptions(partial_channels=4))
  graph, variables = functional.split(module)
  x = rng.normal(size=(2, 5, 5, 8)).astype(np.float32)
  mixture, edges = np.zeros((2, 4), np.float32), np.array([0.75, 0.5], np.float32)
  mixture[0, 0], mixture[1, 2] = 0.75, 0.3  # none on the first edge, max pooling on the second, whose skip connection was dropped
  weights = [EdgeWeights(mixture[row : row + 1], edges[row : row + 1]) for row in range(2)]
  out, _ = functional.apply(graph, variables, x, weights, train=True)
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


def test_an_edge_without_an_operation_passes_nothing():
  genotype = SPACE.sample(np.random.default_rng(0))
  chosen = one_hot(SPACE, genotype)
  whole = relaxations.with_edges(SPACE, chosen, edges_of(SPACE, chosen), relaxations.everything(SPACE))
  for cell in SPACE.cells:
    assert (whole[f"{cell} edges"] == 1 - chosen[cell][:, 0]).all() and 0 < whole[f"{cell} edges"].sum() < 5
  allowed = relaxations.everything(SPACE)
  allowed["normal"][1, 1:] = 0
  allowed["normal"][2] = 0
  ruled_out = relaxations.with_edges(SPACE, chosen, {"normal": np.full(5, 0.5)}, allowed)
  assert ruled_out["normal edges"].tolist() == [0.5, 0, 0, 0.5, 0.5]


# The gradient of operations that were not drawn, as the published code of GDAS has it.


def drawn_weights(mixture, options, output):
  """The gradient of the sum of what an edge gives in its weights, for a mixture [1, operations]."""
  rng = np.random.default_rng(0)
  graph, variables = functional.split(MixedEdges(SPACE, 2, 4, 1, rng, options))
  x = rng.normal(size=(2, 4, 4, 4)).astype(np.float32)

  def total(mixture):
    out, _ = functional.apply(graph, variables, x, [EdgeWeights(mixture)], train=True)
    return (out[3] * output).sum()

  return jax.value_and_grad(total)(jnp.asarray(mixture))


def test_ones_for_operations_that_were_not_drawn():
  output = np.random.default_rng(1).normal(size=(2, 4, 4, 4)).astype(np.float32)
  drawn = np.array([[0, 1, 0, 0]], np.float32)
  value, ones = drawn_weights(drawn, EdgeOptions(ones_for_undrawn=True), output)
  same, plain = drawn_weights(drawn, EdgeOptions(), output)
  np.testing.assert_allclose(value, same, rtol=1e-6)
  np.testing.assert_allclose(ones[0], [output.sum(), plain[0, 1], output.sum(), output.sum()], rtol=1e-5)
  soft = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)  # a search is validated with all of them
  values = [drawn_weights(soft, options, output)[0] for options in (EdgeOptions(ones_for_undrawn=True), EdgeOptions())]
  np.testing.assert_allclose(*values, rtol=1e-5)


def test_ones_for_activations_that_were_not_drawn():
  space = CellSpace("rnn", ("recurrent",), ("none", "tanh", "relu"), num_inputs=1, num_nodes=1, edges_per_node=1)
  x = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)

  def total(mixture, options):
    return MixedActivations(space, options)(1, x, mixture)[0].sum()

  drawn = jnp.asarray([[0.0, 1.0, 0.0]])
  (value, ones), (same, plain) = (jax.value_and_grad(total)(drawn, EdgeOptions(ones_for_undrawn=ones)) for ones in (True, False))
  assert value == same
  np.testing.assert_allclose(ones[0], [x.size, plain[0, 1], x.size], rtol=1e-6)


# Other forms of the published code.


def test_dirichlet_by_the_softmax_of_its_parameters():
  arch = Dirichlet().init(SPACE, KEY, 1.0)
  for cell in SPACE.cells:
    np.testing.assert_allclose(Dirichlet(softmax=True).mean(arch)[cell], jax.nn.softmax(arch[cell], -1), rtol=1e-6)
    assert (Dirichlet(softmax=True)(arch, KEY, 1.0)[cell] == Dirichlet()(arch, KEY, 1.0)[cell]).all()


def test_a_simplex_that_begins_in_its_middle():
  arch = EdgeNormalized(Simplex(uniform_start=True), SPACE).init(SPACE, KEY, 5.0)
  for cell in SPACE.cells:
    np.testing.assert_allclose(arch[cell], 0.25, rtol=1e-6)
    np.testing.assert_allclose(arch[f"{cell} edges"], 1 / SIZES, rtol=1e-6)


def test_exponentiated_gradient_with_a_smallest_weight():
  arch = {"normal": jnp.asarray([[0.5, 0.25, 0.25, 0.0]]), "normal edges": jnp.asarray([1.0, 0.0, 0.5, 0.5, 0.0])}
  gradient = {"normal": jnp.asarray([[-30.0, 0.0, 0.0, 0.0]]), "normal edges": jnp.zeros(5)}
  optimizer = exponentiated_gradient(1.0, SPACE, smallest=1e-5)
  after = optax.apply_updates(arch, optimizer.update(gradient, optimizer.init(arch), arch)[0])
  np.testing.assert_allclose(after["normal"], [[1 - 3e-5, 1e-5, 1e-5, 1e-5]], rtol=1e-3)
  np.testing.assert_allclose(after["normal edges"], [1 - 1e-5, 1e-5, 0.5, 0.5, 1e-5], rtol=1e-4)
