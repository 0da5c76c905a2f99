"""Hypergradients of two problems whose solutions have closed forms."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import flat
from hypergradient_problems import KEY, at_rate, problem_of

from dnas.supernet import bilevel
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.supernet.hypergradients.implicit import ImplicitConjugateGradient, ImplicitNeumann
from dnas.supernet.hypergradients.unrolled import Unrolled
from dnas.supernet.relaxations import Relaxation
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers

# The toy of the DARTS paper, figure 2: L_val = a w - 2 a + 1, L_train = w^2 - 2 a w + a^2. The minimum of L_val(w*(a), a) is at (1, 1).

TRAIN, VALID = 1.0, 0.0


def toy_loss(weights, arch, stats, inputs, key):
  w, a = weights["w"], arch["a"]
  return jnp.where(inputs.batch == TRAIN, w**2 - 2 * a * w + a**2, a * w - 2 * a + 1), ({}, {})


TOY = bilevel.compiled(toy_loss)
TOY_SGD = optax.sgd(0.5)
TOY_ADAPT = optax.sgd(0.1)


def toy_at(a, w):
  return {"w": jnp.float32(w)}, {"a": jnp.float32(a)}


@pytest.mark.parametrize(
  "hypergradient, expected, at",
  [(FirstOrder(), -4.0, -2.0), (Unrolled(1), 2.0, 2.0), (Unrolled(2), 2.0, 2.0), (FiniteDifference(), 2.0, 2.0)],
)
def test_the_toy_of_the_paper(hypergradient, expected, at):
  weights, arch = toy_at(a=2, w=-2)
  estimate = hypergradient(problem_of(TOY, TRAIN, VALID, TOY_SGD), weights, arch, TOY_SGD.init(weights))
  tolerance = 1e-3 if isinstance(hypergradient, FiniteDifference) else 0
  assert float(estimate.arch["a"]) == pytest.approx(expected, abs=tolerance, rel=0)
  assert float(estimate.valid_loss) == 2 * at - 4 + 1  # the loss at w', or at w in the first order


def test_the_inner_step_of_the_toy():
  weights, arch = toy_at(a=2, w=-2)
  gradient = problem_of(TOY, TRAIN, VALID, TOY_SGD).train(weights, arch)
  assert float(gradient.loss) == 16 and float(gradient.weights["w"]) == -8 and float(gradient.arch["a"]) == 8
  ahead, _ = optimizer_step(TOY_SGD, gradient.weights, TOY_SGD.init(weights), weights)
  assert float(ahead["w"]) == 2


@pytest.mark.parametrize("hypergradient, end", [(Unrolled(1), (1, 1)), (FiniteDifference(), (1, 1)), (FirstOrder(), (2, 2))])
def test_where_the_toy_converges(hypergradient, end):
  weights, arch = toy_at(a=2, w=-2)
  state = bilevel.SearchState(weights, {}, arch, TOY_SGD.init(weights), TOY_ADAPT.init(arch))
  method = bilevel.Method(Relaxation(), TOY_ADAPT, hypergradient)
  for _ in range(80):
    state, _ = bilevel.BilevelProblem(TOY, method, TOY_SGD, weight_decay=0.0).step(state, TRAIN, VALID, KEY)
  assert (float(state.arch["a"]), float(state.weights["w"])) == pytest.approx(end, abs=2e-3)


# Ridge regression with one regularizer per feature, exp(a): the inner optimum and the hypergradient have a closed form.


def ridge_loss(weights, arch, stats, inputs, key):
  x, y, is_train = inputs.batch
  penalty = 0.5 * (jnp.exp(arch["a"]) * weights["w"] ** 2).sum()
  return 0.5 * jnp.square(x @ weights["w"] - y).mean() + is_train * penalty, ({}, {})


RIDGE = bilevel.compiled(ridge_loss)


@dataclasses.dataclass(frozen=True)
class Ridge:
  """A ridge problem at its inner optimum, and the exact hypergradient there for an inverse Hessian that is given."""

  weight_decay: float
  damping: float = 0.0

  @functools.cached_property
  def data(self):
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(12, 4)), np.array([-1.0, -0.5, 0.0, 0.5])
    truth = rng.normal(size=4)
    y = x @ truth + rng.normal(size=12)
    hessian = x[:8].T @ x[:8] / 8 + np.diag(np.exp(a)) + self.weight_decay * np.eye(4)
    w = np.linalg.solve(hessian, x[:8].T @ y[:8] / 8)
    valid_gradient = x[8:].T @ (x[8:] @ w - y[8:]) / 4
    return (x[:8], y[:8], 1.0), (x[8:], y[8:], 0.0), w, a, hessian, valid_gradient

  def arguments(self, optimizer):
    train_batch, valid_batch, w, a, _, _ = self.data
    weights, arch = {"w": jnp.asarray(w)}, {"a": jnp.asarray(a)}
    return problem_of(RIDGE, train_batch, valid_batch, optimizer, self.weight_decay), weights, arch, optimizer.init(weights)

  def exact(self):
    _, _, w, a, hessian, valid_gradient = self.data
    return -np.exp(a) * w * np.linalg.solve(hessian + self.damping * np.eye(4), valid_gradient)


def ridge_sgd(learning_rate, weight_decay):
  return at_rate(learning_rate, optimizers.sgd(momentum=0.0, weight_decay=weight_decay, gradient_clip=0))


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("hypergradient", [ImplicitConjugateGradient(iterations=8), ImplicitNeumann(terms=120, scale=0.3)])
def test_implicit_estimators_equal_the_closed_form(x64, hypergradient, weight_decay):
  ridge = Ridge(weight_decay)
  problem, weights, arch, state = ridge.arguments(optax.identity())
  assert np.abs(flat(problem.train(weights, arch).weights) + weight_decay * weights["w"]).max() < 1e-12  # the inner optimum
  estimate = hypergradient(problem, weights, arch, state)
  np.testing.assert_allclose(estimate.arch["a"], ridge.exact(), rtol=1e-8)
  assert np.abs(ridge.exact()).min() > 1e-3


def test_the_hypergradient_is_the_derivative_of_the_retrained_loss(x64):
  """The closed form itself, against differences of the validation loss at weights that are solved for anew."""
  _, (x, y, _), _, a, hessian, _ = Ridge(0.3).data
  train_x, train_y, _ = Ridge(0.3).data[0]

  def retrained(a_new):
    w = np.linalg.solve(hessian - np.diag(np.exp(a)) + np.diag(np.exp(a_new)), train_x.T @ train_y / 8)
    return 0.5 * np.square(x @ w - y).mean()

  numeric = [(retrained(a + 1e-5 * e) - retrained(a - 1e-5 * e)) / 2e-5 for e in np.eye(4)]
  np.testing.assert_allclose(Ridge(0.3).exact(), numeric, rtol=1e-7)


def test_damping_is_added_to_the_hessian(x64):
  ridge = Ridge(0.3, damping=0.7)
  estimate = ImplicitConjugateGradient(iterations=8, damping=0.7)(*ridge.arguments(optax.identity()))
  np.testing.assert_allclose(estimate.arch["a"], ridge.exact(), rtol=1e-8)


@pytest.mark.parametrize("steps", [1, 4])
def test_unrolled_at_the_optimum_is_a_truncated_neumann_series(x64, steps):
  arguments = Ridge(0.3).arguments(ridge_sgd(0.1, 0.3))
  unrolled, neumann = Unrolled(steps)(*arguments), ImplicitNeumann(terms=steps, scale=0.1)(*arguments)
  np.testing.assert_allclose(unrolled.arch["a"], neumann.arch["a"], rtol=1e-10)
  np.testing.assert_allclose(unrolled.valid_loss, neumann.valid_loss, rtol=1e-10)


def test_unrolled_converges_to_implicit(x64):
  ridge, optimizer = Ridge(0.3), ridge_sgd(0.3, 0.3)
  errors = [np.linalg.norm(Unrolled(steps)(*ridge.arguments(optimizer)).arch["a"] - ridge.exact()) for steps in (1, 4, 16, 64)]
  assert errors[0] > 1e-2 and all(after < 0.5 * before for before, after in zip(errors, errors[1:], strict=False)) and errors[-1] < 1e-8
