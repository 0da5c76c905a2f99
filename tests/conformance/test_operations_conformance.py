"""One battery over every operation in the registry: an operation gets its tests by being registered.

Axes: E edges, B batch, H height, W width, C channels.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

import dnas.cells  # noqa: F401  (it registers the operations)
from dnas.cells.functional import Network, Variables, apply, split
from dnas.cells.operations import OPERATIONS, OperationStack

pytestmark = pytest.mark.versions
E, B, H, W, C = 2, 2, 5, 6, 3
IMAGES = np.random.default_rng(0).normal(size=(2, B, H, W, C)).astype(np.float32)

every_operation = pytest.mark.parametrize("name", list(OPERATIONS))


def build(name: str, stride: int, seed: int = 0) -> tuple[Network, Variables]:
  return split(OperationStack((name,), E, C, stride, False, np.random.default_rng(seed)))


class Run(NamedTuple):
  output: jax.Array
  stats: Any
  gradients: tuple[Any, jax.Array]
  eval_output: jax.Array
  eval_stats: Any


def forward(network: Network, name: str, variables: Variables, images: jax.Array, train: bool = True) -> tuple[jax.Array, Any]:
  outputs, stats = apply(network, variables, images, train=train)
  return outputs[name], stats


@functools.cache
def program(name: str) -> tuple[Variables, Callable[[Variables, jax.Array], Run], list[str]]:
  """Returns the weights of an operation at stride 2, a compiled function that runs all of it, and a list that grows when it is traced."""
  network, variables = build(name, 2)

  def run(variables: Variables, images: jax.Array) -> Run:
    traces.append(name)

    def loss(weights: Any, images: jax.Array) -> tuple[jax.Array, Any]:
      output, stats = forward(network, name, Variables(weights, variables.stats), images)
      return jnp.sin(output).sum(), (output, stats)

    gradients, (output, stats) = jax.grad(loss, (0, 1), has_aux=True)(variables.weights, images)
    return Run(output, stats, gradients, *forward(network, name, variables, images, train=False))

  traces: list[str] = []
  return variables, quick_jit(run), traces


def check_values(output: jax.Array, everything: Any, stride: int):
  assert output.shape in [(edges, B, -(-H // stride), -(-W // stride), C) for edges in (1, E)]
  for leaf in jax.tree.leaves((output, everything)):
    assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all()


@every_operation
@pytest.mark.parametrize("stride", [1, 2])
def test_one_edge_of_a_stack_is_a_stack_of_one(name: str, stride: int):
  """So that edges can be called one by one (`functional.call_stack`): all arrays begin with an axis that the edges share equally."""
  together, variables = build(name, stride)
  alone, like = split(OperationStack((name,), 1, C, stride, False, np.random.default_rng(0)))
  assert alone == together
  outputs, _ = quick_jit(functools.partial(forward, together, name))(variables, IMAGES[0])
  for edge in range(E):
    own = jax.tree.map(lambda leaf, edge=edge: np.split(np.asarray(leaf), E)[edge], variables)
    jax.tree.map(lambda leaf, expected: np.testing.assert_equal(leaf.shape, expected.shape), own, like)
    output, _ = quick_jit(functools.partial(forward, alone, name))(own, IMAGES[0])
    np.testing.assert_allclose(output[0], outputs[edge % len(outputs)], rtol=1e-4, atol=1e-5)


@every_operation
def test_shapes_types_and_finite_values_at_stride_1(name: str):
  network, variables = build(name, 1)
  output, stats = quick_jit(functools.partial(forward, network, name))(variables, IMAGES[0])
  check_values(output, stats, 1)


@every_operation
def test_shapes_types_and_finite_values_and_gradients_at_stride_2(name: str):
  variables, run, _ = program(name)
  result = run(variables, IMAGES[0])
  check_values(result.output, result, 2)
  check_values(result.eval_output, result.eval_stats, 2)
  assert jax.tree.structure(result.gradients) == jax.tree.structure((variables.weights, IMAGES[0]))


@every_operation
def test_running_statistics_move_in_training_only(name: str):
  variables, run, _ = program(name)
  result = run(variables, IMAGES[0])
  for before, train, evaluation in zip(*map(jax.tree.leaves, (variables.stats, result.stats, result.eval_stats)), strict=True):
    np.testing.assert_array_equal(before, evaluation)
    assert (before != train).all()


@every_operation
def test_weights_are_used(name: str):
  variables, run, _ = program(name)
  weight_gradients, image_gradient = run(variables, IMAGES[0]).gradients
  assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(weight_gradients))
  assert np.asarray(image_gradient).any() != (name in ("none", "noise"))


@every_operation
def test_no_recompilation_and_determinism(name: str):
  variables, run, traces = program(name)
  first = run(variables, IMAGES[0])
  _, other = build(name, 2, seed=1)
  moved = run(other, IMAGES[1])
  again = run(build(name, 2)[1], IMAGES[0])
  assert traces == [name]
  for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(one, two)
  assert name == "none" or not np.array_equal(first.output, moved.output)


@every_operation
def test_jit_and_vmap_over_seeds_are_the_eager_call(name: str):
  _, run, _ = program(name)
  network, _ = build(name, 2)
  seeds = [build(name, 2, seed)[1] for seed in range(2)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
  outputs, stats = quick_jit(jax.vmap(functools.partial(forward, network, name)))(stacked, IMAGES)
  compiled = [run(variables, images) for variables, images in zip(seeds, IMAGES, strict=True)]
  found = [forward(network, name, seeds[0], IMAGES[0])]  # op by op
  found += [jax.tree.map(lambda leaf, seed=seed: leaf[seed], (outputs, stats)) for seed in range(2)]
  for one, two in zip(jax.tree.leaves(found), jax.tree.leaves([run[:2] for run in (compiled[0], *compiled)]), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
