"""Hypergradients of a small network against differences and each other; their cost; and one battery for every registered estimator."""

import collections
import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bits, flat
from hypergradient_problems import KEY, at_rate, problem_of

from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.supernet import bilevel
from dnas.supernet.bilevel import LossInputs
from dnas.supernet.hypergradients import HYPERGRADIENTS, Gradients
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder, SingleLevel
from dnas.supernet.hypergradients.implicit import ImplicitConjugateGradient, ImplicitNeumann
from dnas.supernet.hypergradients.unrolled import Unrolled
from dnas.supernet.relaxations import Relaxation
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers

# A small smooth network, trained as the published recipe trains a supernet.


def net_loss(weights, arch, stats, inputs, key):
  x, y, weight = inputs.batch
  hidden = jnp.tanh((x * jax.nn.softmax(arch["normal"])[None]) @ weights["in"] + weights["bias"][None])
  output = (hidden * jnp.exp(arch["reduce"])[None]) @ weights["out"]
  return weight * jnp.square(output - y).mean(), ({}, {})


NET = bilevel.compiled(net_loss)
CLIP, DECAY, MOMENTUM = 1.0, 0.1, 0.9
RECIPE = at_rate(0.1, optimizers.sgd(momentum=MOMENTUM, weight_decay=DECAY, gradient_clip=CLIP))


def net_data(clipped, valid_weight=1.0):
  """Weights, architecture and two batches; with `clipped` all gradients are longer than the clip, and otherwise none."""
  rng = np.random.default_rng(1)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), float)

  weights, arch = {"in": draw(3, 4), "bias": draw(4), "out": draw(4)}, {"normal": draw(3), "reduce": 0.5 * draw(4)}
  return weights, arch, (draw(6, 3), draw(6), 40.0 if clipped else 0.02), (draw(6, 3), draw(6), valid_weight)


def net_arguments(clipped, valid_weight=1.0, optimizer=RECIPE):
  """A problem, and weights in the midst of training: two steps taken, momentum gathered, clipping as said."""
  weights, arch, train_batch, valid_batch = net_data(clipped, valid_weight)
  problem = problem_of(NET, train_batch, valid_batch, optimizer, DECAY)
  state = optimizer.init(weights)
  for _ in range(2):
    weights, state = optimizer_step(optimizer, problem.train(weights, arch).weights, state, weights)
  return problem, weights, arch, state


@functools.partial(jax.jit, static_argnums=(0, 5))
def straight(optimizer, weights, arch, state, batches, steps):
  """L_val after K steps, without any of the code under test; with norms of the gradients on the way."""
  norms = []
  for _ in range(steps):
    gradient = jax.grad(lambda w: net_loss(w, arch, {}, LossInputs(batches[0]), KEY)[0])(weights)
    norms.append(jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient))))
    updates, state = optimizer.update(gradient, state, weights)
    weights = jax.tree.map(jnp.add, weights, updates)
  return net_loss(weights, arch, {}, LossInputs(batches[1]), KEY)[0], norms


straight_gradient = jax.jit(jax.grad(straight, 2, has_aux=True), static_argnums=(0, 5))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("clipped", [False, True])
def test_unrolled_differentiates_the_steps_that_the_optimizer_takes(x64, clipped, steps):
  problem, weights, arch, state = net_arguments(clipped)
  batches = net_data(clipped)[2:]
  estimate = Unrolled(steps)(problem, weights, arch, state)

  value, norms = straight(RECIPE, weights, arch, state, batches, steps)
  assert all((norm > CLIP) == clipped for norm in norms) and tree.norm(state[2].trace) > 0.1
  np.testing.assert_allclose(estimate.valid_loss, value, rtol=1e-12)

  through, _ = straight_gradient(RECIPE, weights, arch, state, batches, steps)
  np.testing.assert_allclose(flat(estimate.arch), flat(through), rtol=1e-9, atol=1e-12)

  leaves, treedef = jax.tree.flatten(arch)
  numeric = []
  for leaf, values in enumerate(leaves):
    for e in np.eye(values.size) * 1e-5:
      ends = [treedef.unflatten([*leaves[:leaf], values + sign * e, *leaves[leaf + 1 :]]) for sign in (1, -1)]
      above, below = (straight(RECIPE, weights, end, state, batches, steps)[0] for end in ends)
      numeric.append((above - below) / 2e-5)
  np.testing.assert_allclose(flat(estimate.arch), numeric, rtol=1e-6, atol=1e-8)
  assert np.linalg.norm(flat(estimate.arch) - flat(FirstOrder()(problem, weights, arch, state).arch)) > 1e-3


def test_unrolled_through_an_optimizer_with_second_moments(x64):
  adam = optax.adam(0.05)
  problem, weights, arch, state = net_arguments(clipped=False, optimizer=adam)
  through, _ = straight_gradient(adam, weights, arch, state, net_data(clipped=False)[2:], 2)
  np.testing.assert_allclose(flat(Unrolled(2)(problem, weights, arch, state).arch), flat(through), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("clipped", [False, True])
def test_finite_difference_errs_by_the_square_of_the_radius(x64, clipped):
  arguments = net_arguments(clipped)
  exact = flat(Unrolled(1)(*arguments).arch)
  errors = [np.linalg.norm(flat(FiniteDifference(radius)(*arguments).arch) - exact) for radius in (0.1, 0.05, 0.025)]
  assert errors[0] / errors[1] == pytest.approx(4, rel=0.1) and errors[1] / errors[2] == pytest.approx(4, rel=0.05)
  implicit = np.linalg.norm(exact - flat(problem_gradient_ahead(*arguments)))
  assert np.linalg.norm(flat(FiniteDifference()(*arguments).arch) - exact) < 1e-4 * implicit


def problem_gradient_ahead(problem, weights, arch, state):
  """The explicit part of the hypergradient: the validation gradient in the architecture at w'."""
  ahead, _ = optimizer_step(RECIPE, problem.train(weights, arch).weights, state, weights)
  return problem.valid(ahead, arch).arch


PUBLISHED = {  # name: gradients are longer than the clip, settings
  "no gradient is clipped": (False, {}),
  "images: the unrolled step is not clipped": (True, {"clipped": False, "through_clip": False}),
  "text: the factor of the clipping is a constant": (True, {"through_clip": False}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_finite_difference_is_the_published_formula(x64, name):
  """w' by hand, with momentum and decay; R = 0.01 / |g'|; the implicit term is lr times a difference of gradients (DARTS, section 2.3)."""
  clipped, settings = PUBLISHED[name]
  estimator = FiniteDifference(**settings)
  problem, weights, arch, state = net_arguments(clipped=clipped)
  clip = CLIP if estimator.clipped else 0.0
  seen = optimizers.sgd(momentum=MOMENTUM, weight_decay=DECAY, gradient_clip=clip, through_clip=estimator.through_clip)
  problem = dataclasses.replace(problem, optimizer=at_rate(0.1, seen))
  w, unflatten = jax.flatten_util.ravel_pytree(weights)
  gradient, momentum = flat(problem.train(weights, arch).weights), flat(state[2].trace)
  factor = min(1.0, CLIP / np.linalg.norm(gradient)) if estimator.clipped else 1.0
  assert (factor < 1) == name.startswith("text")
  gradient, learning_rate = factor * gradient, 0.1
  valid = problem.valid(unflatten(w - learning_rate * (MOMENTUM * momentum + gradient + DECAY * w)), arch)
  ahead_gradient = flat(valid.weights)
  radius = 0.01 / np.linalg.norm(ahead_gradient)
  above = problem.train(unflatten(w + radius * ahead_gradient), arch).arch
  below = problem.train(unflatten(w - radius * ahead_gradient), arch).arch
  published = jax.tree.map(lambda v, p, n: v - factor * learning_rate * (p - n) / (2 * radius), valid.arch, above, below)
  estimate = estimator(problem, weights, arch, state)
  np.testing.assert_allclose(flat(estimate.arch), flat(published), rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(estimate.valid_loss, valid.loss, rtol=1e-12)


# What an estimate costs, and what a step is made of.

COSTS = {  # name: settings, (gradients of L_train, gradients of L_val, Hessian products)
  "single_level": ({}, (1, 0, 0)),
  "first_order": ({}, (0, 1, 0)),
  "finite_difference": ({}, (3, 1, 0)),
  "unrolled": ({"steps": 3}, (3, 1, 3)),
  "implicit_cg": ({"iterations": 4}, (0, 1, 5)),
  "implicit_neumann": ({"terms": 4}, (0, 1, 4)),
}


@pytest.mark.parametrize("name", list(HYPERGRADIENTS))
def test_number_of_evaluations(name):
  settings, expected = COSTS[name]
  problem, *rest = net_arguments(clipped=False)
  calls = collections.Counter()

  def counted(attribute):
    def call(*arguments):
      calls[attribute] += 1
      return getattr(problem, attribute)(*arguments)

    return call

  counting = dataclasses.replace(problem, **{attribute: counted(attribute) for attribute in ("train", "valid", "train_hvp")})
  HYPERGRADIENTS[name](**settings)(counting, *rest)
  assert (calls["train"], calls["valid"], calls["train_hvp"]) == expected


@pytest.mark.parametrize(
  "hypergradient, expected", [(FirstOrder(), "vt"), (FiniteDifference(), "tvttt"), (Unrolled(1), "tvht"), (Unrolled(2), "ttvhht")]
)
def test_the_evaluations_of_a_bilevel_step(hypergradient, expected):
  """All of one step see the same masks and the same batch statistics, and each its own batch."""
  calls = []
  weights, arch, train_batch, valid_batch = net_data(clipped=False)
  key, adapt, stats = jax.random.key(5), optax.sgd(0.1), {"mean": jnp.zeros(2)}

  def recorded(name, program):
    def call(weights, arch, stats, inputs, key, *direction):
      calls.append((name or ("t" if inputs.batch is train_batch else "v"), inputs.batch, stats, key))
      return program(weights, arch, {}, inputs, key, *direction)

    return call

  programs = bilevel.Programs(recorded("", NET.gradient), recorded("", NET.arch_gradient), recorded("h", NET.hvp))
  state = bilevel.SearchState(weights, stats, arch, RECIPE.init(weights), adapt.init(arch))
  method = bilevel.Method(Relaxation(), adapt, hypergradient)
  bilevel.BilevelProblem(programs, method, RECIPE, DECAY).step(state, train_batch, valid_batch, key)
  assert "".join(name for name, *_ in calls) == expected
  assert all(batch is (valid_batch if name == "v" else train_batch) for name, batch, *_ in calls)
  assert all(seen is stats and used is key for *_, seen, used in calls)


def masked_loss(weights, arch, stats, inputs, key):
  """Two thirds of the hidden units are masked out: as noisy as a loss of a recurrent network with dropout."""
  keep = jax.random.bernoulli(key, 1 / 3, weights["w"].shape)
  hidden = jnp.tanh(jnp.where(keep, 3 * weights["w"], 0) * jnp.exp(arch["a"]))
  return jnp.square(hidden.sum(1) - inputs.batch).sum(), ({}, {})


def test_evaluations_with_masks_agree():
  programs, adapt, sgd = bilevel.compiled(masked_loss), optax.sgd(1.0), optax.sgd(0.1)
  rng = np.random.default_rng(0)
  weights, arch = {"w": jnp.asarray(0.3 * rng.normal(size=(5, 8)), jnp.float32)}, {"a": jnp.zeros((5, 8))}
  train_batch, valid_batch = jnp.asarray(rng.normal(size=(2, 5)), jnp.float32)
  state = bilevel.SearchState(weights, {}, arch, sgd.init(weights), adapt.init(arch))
  steps = []
  for hypergradient in (FirstOrder(), FiniteDifference(), Unrolled(1)):
    method = bilevel.Method(Relaxation(), adapt, hypergradient)
    after, _ = bilevel.BilevelProblem(programs, method, sgd, weight_decay=0.0).step(state, train_batch, valid_batch, KEY)
    steps.append(tree.add_scaled(after.arch, -1.0, arch))
  first_order, difference, exact = steps
  assert tree.cosine(difference, exact) > 0.999 and tree.cosine(first_order, exact) < 0.99


# One battery for every registered estimator; a new one is tested as soon as it is registered.

EVERY = pytest.mark.parametrize("name", list(HYPERGRADIENTS))


@pytest.fixture(scope="module")
def arguments():
  return net_arguments(clipped=True)


@EVERY
def test_estimate_is_like_the_architecture(name, arguments):
  estimate = HYPERGRADIENTS[name]()(*arguments)
  arch = arguments[2]
  assert jax.tree.structure(estimate.arch) == jax.tree.structure(arch)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), estimate.arch) == jax.tree.map(lambda x: (x.shape, x.dtype), arch)
  assert estimate.valid_loss.shape == () and np.isfinite(flat(estimate)).all() and np.abs(flat(estimate.arch)).max() > 0


@EVERY
def test_estimate_is_deterministic_and_changes_nothing(name, arguments):
  hypergradient = HYPERGRADIENTS[name]()
  before = bits(arguments[1:])
  assert bits(hypergradient(*arguments)) == bits(hypergradient(*arguments))
  assert bits(arguments[1:]) == before


@EVERY
def test_estimate_within_a_larger_program(name, arguments):
  """The estimator itself can be traced; the programs of a bilevel step stand alone, so here the losses are plain functions."""
  problem, *rest = arguments
  _, _, train_batch, valid_batch = net_data(clipped=True)

  def gradients(batch):
    def call(weights, arch):
      (loss, _), both = jax.value_and_grad(net_loss, (0, 1), has_aux=True)(weights, arch, {}, LossInputs(batch), KEY)
      return Gradients(loss, *both)

    return call

  def train_hvp(weights, arch, direction):
    return jax.jvp(lambda weights: gradients(train_batch)(weights, arch)[1:], (weights,), (direction,))[1]

  plain = dataclasses.replace(problem, train=gradients(train_batch), valid=gradients(valid_batch), train_hvp=train_hvp)
  hypergradient = HYPERGRADIENTS[name](**COSTS[name][0])
  outside, inside = hypergradient(problem, *rest), jax.jit(functools.partial(hypergradient, plain))(*rest)
  np.testing.assert_allclose(flat(inside), flat(outside), rtol=1e-3, atol=1e-5)


def test_a_single_level_sees_the_training_loss_alone(arguments):
  problem, weights, arch, state = arguments
  estimate, train = SingleLevel()(dataclasses.replace(problem, valid=None), weights, arch, state), problem.train(weights, arch)
  assert bits(estimate) == bits((train.arch, train.loss))


@pytest.mark.parametrize("name", [name for name in HYPERGRADIENTS if name != "single_level"])
def test_no_gradient_gives_zero_and_no_nan(name):
  estimate = HYPERGRADIENTS[name]()(*net_arguments(clipped=False, valid_weight=0.0))
  assert not flat(estimate).any()


@EVERY
def test_bad_settings_are_refused(name):
  kind = HYPERGRADIENTS[name]
  for field in (field for field in dataclasses.fields(kind) if field.type is not bool):
    for value in (-1, float("nan")):
      with pytest.raises(FieldError, match=f"^{field.name} is {value}"):
        kind(**{field.name: value})


def test_settings_that_must_be_above_zero():
  settings = {FiniteDifference: "radius", Unrolled: "steps", ImplicitConjugateGradient: "iterations", ImplicitNeumann: "terms"}
  for kind, field in settings.items():
    with pytest.raises(FieldError, match=f"{field} is 0"):
      kind(**{field: 0})
  assert ImplicitConjugateGradient(damping=0.0)
