"""Differentiable methods, their relaxations, remedies and hypergradients, operations and activations, with any settings and finite numbers.

`fuzz_units` says what holds, and how to run this for longer by hand. Few shapes are drawn, since each is compiled.
"""

import dataclasses
import functools
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fuzz_units import FLOATS, REFUSED, fuzzed, outcome
from hypothesis import strategies as st

import dnas.cells  # noqa: F401  (it registers the operations)
from dnas.cells.activations import ACTIVATIONS
from dnas.cells.functional import Variables, apply, split
from dnas.cells.operations import OPERATIONS, OperationStack
from dnas.core import keys
from dnas.core.space import NONE, CellSpace
from dnas.search.gradient import remedies, stages
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.methods.drnas import Dirichlet
from dnas.search.gradient.methods.fair_darts import Sigmoid
from dnas.search.gradient.methods.gaea import Simplex
from dnas.search.gradient.methods.gdas import GumbelOneHot
from dnas.search.gradient.methods.pc_darts import EdgeNormalized
from dnas.search.gradient.methods.snas import Concrete
from dnas.search.gradient.projection import decide
from dnas.search.gradient.remedies import Remedies, SkipDropout
from dnas.supernet import relaxations
from dnas.supernet.discretize import discretize
from dnas.supernet.hypergradients import HYPERGRADIENTS, Gradients, Problem
from dnas.train import optimizers

SPACE = CellSpace("drawn", ("normal", "reduce"), ("none", "skip_connect", "a"), num_inputs=2, num_nodes=2)
ALL = relaxations.everything(SPACE)
KEYS = st.integers(0, 2**32 - 1).map(jax.random.key)
PROGRESS = st.sampled_from((0.0, 0.5, 1.0)) | st.floats(0, 1, width=32)


def settings_of(unit: type, most: int = 3) -> st.SearchStrategy[dict[str, Any]]:
  """Returns up to so many settings of a unit, near and far, which it may refuse."""
  hints = typing.get_type_hints(unit)
  small = st.sampled_from((1e-3, 1e-2, 0.1, 0.3, 0.5, 0.9, 1.0, 5.0, 1e-6, 1e6))
  kinds = {bool: st.booleans(), int: st.integers(1, 3), float: small | FLOATS, str: st.sampled_from(remedies.PERTURBATIONS)}
  values = {field.name: kinds[hints[field.name]] for field in dataclasses.fields(unit)}
  names = st.lists(st.sampled_from(sorted(values)), max_size=most, unique=True) if values else st.just([])
  return names.flatmap(lambda chosen: st.fixed_dictionaries({name: values[name] for name in chosen}))


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], largest: float) -> np.ndarray:
  """Numbers up to a size: of any sizes mixed, all alike, or zero."""
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  scale = draw(st.sampled_from((0.0, 1e-30, 1e-3, 1.0, largest)))
  kind = draw(st.integers(0, 2))
  if kind == 0:
    return np.full(shape, scale * draw(st.sampled_from((-1, 1))), np.float32)
  values = rng.uniform(-1, 1, shape) * (scale if kind == 1 else 10.0 ** rng.uniform(-30, np.log10(largest), shape))
  return values.astype(np.float32)


def finite(values: Any) -> bool:
  return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(values) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


# Methods and remedies.


@pytest.mark.parametrize("name", list(METHODS))
@fuzzed(12, shrink=False, data=st.data(), key=KEYS, progress=PROGRESS, remedy=settings_of(Remedies), rates=settings_of(DartsConfig))
def test_weights_of_a_method_are_shares_and_its_step_is_finite(
  name: str, data: st.DataObject, key: jax.Array, progress: float, remedy: dict[str, Any], rates: dict[str, Any]
):
  method = outcome(METHODS[name], **data.draw(settings_of(METHODS[name])))
  remedy, rates = outcome(Remedies, **remedy), outcome(DartsConfig, **rates)
  if REFUSED in (method, remedy, rates):
    return
  relax = remedy.relaxation(method.relaxation(SPACE), SPACE)
  arch = relax.init(SPACE, key, rates.arch_init_scale)
  optimizer = method.arch_optimizer(rates, SPACE)
  state = optimizer.init(arch)
  base = method.relaxation(SPACE)
  simplex = isinstance(getattr(base, "operations", base), Simplex)
  for _ in range(2):
    check_weights(relax, arch, key, np.float32(progress), remedy.skip_dropout)
    gradient = {name: jnp.asarray(data.draw(arrays(value.shape, 1e4))) for name, value in sorted(arch.items())}
    updates, state = optimizer.update(gradient, state, arch)
    arch = optax.apply_updates(arch, updates)
    assert finite(arch)
    if simplex:
      assert all(np.allclose(arch[cell].sum(-1), 1, atol=1e-5) and (arch[cell] >= 0).all() for cell in SPACE.cells)
  near = remedy.make_perturbation()(arch, key, progress, lambda at: (jnp.float32(1), jax.tree.map(jnp.zeros_like, at)))
  assert finite(near)


def check_weights(relax: relaxations.Relaxation, arch: Any, key: jax.Array, progress: np.ndarray, dropout: float) -> None:
  """Weights and gradients are finite, weights not negative; without dropout those of an edge sum to the edge's own, sigmoids excepted."""

  def weighed(arch: Any) -> tuple[jax.Array, Any]:
    mixture = relax(arch, key, progress)
    return sum((jnp.arange(3.0)[None] * weights).sum() for weights in mixture.values()) + relax.penalty(arch), mixture

  gradient, drawn = jax.grad(weighed, has_aux=True)(arch)
  mean, edges = relax.mean(arch), relax.edges(arch)
  assert finite((gradient, drawn, mean, edges))
  inner = getattr(relax, "inner", relax)
  for cell in SPACE.cells:
    assert drawn[cell].shape == SPACE.arch_shape() and (np.asarray(drawn[cell]) > -1e-5).all() and (np.asarray(mean[cell]) >= 0).all()
    if not isinstance(inner, Sigmoid):
      np.testing.assert_allclose(mean[cell].sum(-1), edges[cell], rtol=1e-4, atol=1e-6)
      if not dropout:
        np.testing.assert_allclose(drawn[cell].sum(-1), edges[cell], rtol=1e-4, atol=1e-5)
  assert SPACE.validate(discretize(SPACE, relaxations.to_numpy({cell: mean[cell] for cell in SPACE.cells})))


RELAXATIONS = {
  "softmax": relaxations.Relaxation(),
  "one-hot": GumbelOneHot(),
  "concrete": Concrete(),
  "dirichlet": Dirichlet(),
  "sigmoid": Sigmoid(SPACE),
  "edges": EdgeNormalized(relaxations.Relaxation(), SPACE),
  "skips": SkipDropout(relaxations.Relaxation(), SPACE, 0.5),
}


@pytest.mark.parametrize("name", list(RELAXATIONS))
@fuzzed(12, shrink=False, data=st.data(), key=KEYS, progress=PROGRESS)
def test_any_finite_parameters_have_finite_weights(name: str, data: st.DataObject, key: jax.Array, progress: float):
  relax = RELAXATIONS[name]
  shapes = {cell: value.shape for cell, value in relax.init(SPACE, key, 1.0).items()}
  arch = {cell: jnp.asarray(data.draw(arrays(shape, 1e4))) for cell, shape in shapes.items()}
  check_weights(relax, arch, key, np.float32(progress), float(name == "skips"))


def masks() -> st.SearchStrategy[dict[str, np.ndarray]]:
  rows = st.lists(st.tuples(*[st.booleans()] * 3).filter(any), min_size=len(SPACE.edges), max_size=len(SPACE.edges))
  return st.fixed_dictionaries({cell: rows.map(lambda mask: np.array(mask, np.float32)) for cell in SPACE.cells})


@fuzzed(25, data=st.data(), allowed=masks(), keep=st.integers(0, 5))
def test_masks_keep_the_sums_and_the_strongest(data: st.DataObject, allowed: dict[str, np.ndarray], keep: int):
  mixture = {cell: np.abs(data.draw(arrays(SPACE.arch_shape(), 1.0))) for cell in SPACE.cells}
  kept = relaxations.restrict(mixture, allowed)
  assert finite(kept)
  for cell in SPACE.cells:
    assert not (np.asarray(kept[cell]) * (1 - allowed[cell])).any()
    np.testing.assert_allclose(kept[cell].sum(-1), mixture[cell].sum(-1), rtol=1e-4, atol=1e-37)
  strongest = stages.strongest(SPACE, mixture, keep)
  for cell in SPACE.cells:
    assert (strongest[cell].sum(-1) == min(keep or 3, 3)).all()
    out = np.where(strongest[cell] > 0, -np.inf, mixture[cell]).max(-1)
    assert (np.where(strongest[cell] > 0, mixture[cell], np.inf).min(-1) >= out).all()


@fuzzed(25, seed=st.integers(0, 2**32 - 1), losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_a_projection_decides_every_edge(seed: int, losses: list[float]):
  allowed, calls = ALL, iter(range(10**6))
  decisions = remedies.decisions(SPACE, seed)
  rows = [(decision.cell, decision.rows) for decision in decisions if decision.operation]
  assert sorted(rows) == [(cell, (row,)) for cell in SPACE.cells for row in range(len(SPACE.edges))]
  for decision in decisions:
    allowed = decide(decision, SPACE, allowed, lambda mask: losses[next(calls) % len(losses)])
  for cell in SPACE.cells:
    assert (allowed[cell].sum(-1) <= 1).all() and not allowed[cell][:, SPACE.operations.index(NONE)].any()
  mixture = {cell: allowed[cell] for cell in SPACE.cells}
  kept = discretize(SPACE, mixture)
  assert {cell: int(allowed[cell].sum()) for cell in SPACE.cells} == {cell: sum(map(len, found.nodes)) for cell, found in kept.cells}


@fuzzed(
  60, values=st.lists(st.floats() | st.floats(0, 10), max_size=12), ratio=st.sampled_from((0.0, 0.5, 0.75)), window=st.integers(1, 4)
)
def test_a_stop_is_a_growth_of_means(values: list[float], ratio: float, window: int):
  found = remedies.stops(np.array(values), ratio, window)
  enough = bool(ratio) and len(values) >= 2 * window and not np.isnan(values[-2 * window :]).any()
  assert isinstance(found, bool) and (enough or not found)


# Hypergradients.


def problem(curvature: np.ndarray) -> Problem:
  """L_train = w H w / 2 - w a, L_val = |w - 1|^2 / 2, of two weights and two numbers for the architecture."""

  def gradients(loss: Any) -> Any:
    def both(weights: jax.Array, arch: jax.Array) -> Gradients:
      value, (in_weights, in_arch) = jax.value_and_grad(loss, (0, 1))(weights, arch)
      return Gradients(value, in_weights, in_arch)

    return both

  def train(weights: jax.Array, arch: jax.Array) -> jax.Array:
    return (curvature * weights**2).sum() / 2 - (weights * arch).sum()

  def product(weights: jax.Array, arch: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(lambda at: jax.grad(train, (0, 1))(at, arch), (weights,), (direction,))[1]

  valid = gradients(lambda weights, arch: ((weights - 1) ** 2).sum() / 2 + 0 * arch.sum())
  return Problem(gradients(train), valid, product, OPTIMIZER, 0.0)


OPTIMIZER = optimizers.sgd(momentum=0.9, weight_decay=0.0, gradient_clip=5.0)
RATE = 0.1


@pytest.mark.parametrize("name", list(HYPERGRADIENTS))
@fuzzed(10, shrink=False, data=st.data(), weights=arrays((2,), 10.0), arch=arrays((2,), 10.0))
def test_a_hypergradient_is_finite_or_its_settings_are_refused(name: str, data: st.DataObject, weights: np.ndarray, arch: np.ndarray):
  estimator = outcome(HYPERGRADIENTS[name], **data.draw(settings_of(HYPERGRADIENTS[name])))
  if estimator is REFUSED:
    return
  curvature = np.array(data.draw(st.sampled_from(([0.0, 0.0], [1.0, 2.0], [1e-6, 5.0]))), np.float32)
  state = optimizers.with_learning_rate(OPTIMIZER.init(jnp.asarray(weights)), RATE)
  estimate = estimator(problem(curvature), jnp.asarray(weights), jnp.asarray(arch), state)
  assert finite(estimate) and estimate.arch.shape == (2,)
  gradient = curvature * weights - arch
  if name in ("finite_difference", "unrolled") and getattr(estimator, "steps", 1) == 1 and np.linalg.norm(gradient) < 5:
    # One step w - rate g moves by the rate times the change of a, so that the loss changes by the rate times (w' - 1).
    expected = RATE * (weights - RATE * gradient - 1)
    exact = name == "unrolled" or 1e-3 <= estimator.radius <= 1
    assert not exact or np.allclose(estimate.arch, expected, rtol=1e-2, atol=1e-3), (estimate.arch, expected)


# Operations and activations.


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@fuzzed(10, shrink=False, values=arrays((8,), 1e30))
def test_activations_are_finite_and_act_on_every_element(name: str, values: np.ndarray):
  out, slope = jax.vmap(jax.value_and_grad(lambda x: ACTIVATIONS[name](x)))(values)
  assert out.shape == slope.shape == (8,) and finite((out, slope))
  np.testing.assert_allclose(ACTIVATIONS[name](values[::-1]), out[::-1], rtol=1e-6)


@functools.cache
def program(name: str) -> tuple[Variables, Any]:
  """An operation on two edges at stride 2, and a compiled function of its output, statistics and gradients."""
  network, variables = split(OperationStack((name,), 2, 3, 2, False, np.random.default_rng(0)))

  def run(variables: Variables, images: jax.Array) -> Any:
    def loss(weights: Any, images: jax.Array) -> tuple[jax.Array, Any]:
      outputs, stats = apply(network, Variables(weights, variables.stats), images, train=True)
      return jnp.sin(outputs[name]).sum(), (outputs[name], stats)

    return jax.grad(loss, (0, 1), has_aux=True)(variables.weights, images)

  return variables, jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("name", list(OPERATIONS))
@fuzzed(10, shrink=False, images=arrays((2, 5, 6, 3), 1e4))
def test_operations_and_their_gradients_are_finite(name: str, images: np.ndarray):
  variables, run = program(name)
  gradients, (output, stats) = run(variables, images)
  assert output.shape in ((1, 2, 3, 3, 3), (2, 2, 3, 3, 3)) and finite((output, stats, gradients))


def test_keys_are_of_whole_seeds_alone():
  for seed in (-1, 0.5, "1", None, True, 1j, [1]):
    assert outcome(keys.generator, seed, "x") is REFUSED
  assert keys.generator(2**70, "x").random() != keys.generator(0, "x").random()
