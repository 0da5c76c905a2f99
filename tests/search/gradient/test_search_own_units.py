"""Operations of plain `nnx` modules and spaces of other forms, registered by a user: in supernets, derived networks and searches."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import own_units
import pytest
from flax import nnx
from helpers import bits
from own_units import ONE_INPUT, ONE_TYPE, PLAIN

from dnas.cells import functional
from dnas.cells.image_stack import ImageStack
from dnas.cells.nasbench201_stack import ResidualStack
from dnas.cells.operations import OperationStack
from dnas.cells.registries import SPACES, STACKS
from dnas.compiler.functions import Loss
from dnas.core.errors import InputError
from dnas.data import base, datasets
from dnas.evaluate import weight_sharing
from dnas.nets import derived_image
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient.darts import Config, DartsTask
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.train import images

pytestmark = pytest.mark.usefixtures("quick_compilation", "units")
E, B, S, C = 3, 4, 6, 3
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(B, S, S, C)), jnp.float32)
DATA = base.Config("synthetic", batch_size=128, eval_batch_size=256)


@pytest.fixture(scope="module")
def units():
  with own_units.registered():
    yield


@functools.partial(jax.jit, static_argnums=(0, 3))
def call(network, variables, x, train):
  return functional.apply(network, variables, x, train=train)


def stack_of(names, edges=E, stride=1):
  return functional.split(OperationStack(names, edges, C, stride, True, np.random.default_rng(0)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_module_is_repeated_for_its_edges(name, stride):
  network, variables = stack_of((name,), stride=stride)
  rng = np.random.default_rng(0)
  for train in (False, True):
    outputs, stats = call(network, variables, IMAGES, train)
    assert outputs[name].shape == (E, B, S // stride, S // stride, C)
    assert len({np.asarray(edge).tobytes() for edge in outputs[name]}) == E  # every edge has weights and masks of its own
    moved = [one != other for one, other in zip(bits(stats), bits(variables.stats), strict=True)]
    assert any(moved) == (train and name != "my_linear")
    assert all(leaf.shape[0] == E for leaf in jax.tree.leaves(variables))
  for edge in range(E):
    module = PLAIN[name](1, C, stride, True, rng)
    module.eval()
    alone = module(IMAGES[None], train=False) if name == "my_conv" else module(IMAGES[None])
    np.testing.assert_allclose(call(network, variables, IMAGES, False)[0][name][edge], alone[0], rtol=1e-4, atol=1e-5)


def test_dropout_draws_anew_at_every_step_and_drops_nothing_in_evaluation():
  network, variables = stack_of(("my_dropout",))
  outputs = []
  for _ in range(3):
    output, stats = call(network, variables, IMAGES, True)
    again, _ = call(network, variables, IMAGES, True)
    assert bits(output) == bits(again)  # one state, one mask
    variables = functional.Variables(variables.weights, stats)
    outputs.append(np.asarray(output["my_dropout"]) == 0)
  assert 0.3 < np.mean(outputs) < 0.7 and (outputs[0] != outputs[1]).any() and (outputs[1] != outputs[2]).any()
  evaluated, stats = call(network, variables, IMAGES, False)
  assert (np.asarray(evaluated["my_dropout"]) != 0).all() and bits(stats) == bits(variables.stats)


def test_a_module_that_returns_another_shape_is_refused():
  network, variables = stack_of(("of_another_shape",))
  message = r"operation 'of_another_shape' maps \(1, 4, 6, 6, 3\) to \(1, 4, 6, 6, 4\); at stride 1 it must return \(1, 4, 6, 6, 3\)\."
  with pytest.raises(InputError, match=message):
    call(network, variables, IMAGES, True)


class Chain(nnx.Module):
  """Three stacks of all plain operations, one after the other, each called edge by edge where a function is cut."""

  def __init__(self):
    rng = np.random.default_rng(0)
    self.stacks = nnx.List([OperationStack(tuple(PLAIN), E, C, 1, True, rng) for _ in range(3)])

  def __call__(self, x, train):
    for stack in self.stacks:
      own = [jnp.full((1,), 0.1 + edge) for edge in range(E)]
      x = sum(functional.call_stack(stack, own, x, train=train, function=_weighted))
    return x


def _weighted(stack, own, x, train):
  total = sum(stack(x, train).values())
  return [own[edge] * jnp.tanh(total[edge]) for edge in range(len(own))]


@pytest.mark.parametrize("product", [False, True], ids=["gradient", "Hessian product"])
def test_functions_that_are_cut_compute_the_same(product):
  network, variables = functional.split(Chain())

  def loss(weights, stats, x):
    output, stats = functional.apply(network, functional.Variables(weights, stats), x, train=True)
    return jnp.square(output).mean(), stats

  arguments = (variables.weights, variables.stats, IMAGES)
  with marks_are_used() as used:
    if product:
      direction = jax.tree.map(jnp.ones_like, variables.weights)
      found = Loss(loss, (0,)).hessian_product(along=0)(*arguments, direction)[0]
      gradient = jax.grad(lambda weights: loss(weights, *arguments[1:])[0])
      expected = jax.jit(lambda weights, direction: jax.jvp(gradient, (weights,), (direction,))[1])(variables.weights, direction)
    else:
      found = Loss(loss, (0,)).gradient((0,))(*arguments)
      expected = jax.jit(jax.value_and_grad(loss, (0,), has_aux=True))(*arguments)
  assert used
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-5)


@contextlib.contextmanager
def marks_are_used():
  """A list of what was called edge by edge, complete when it is left."""
  used, original = [], functional._taken_apart
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(functional, "_taken_apart", lambda *arguments: (used.append(arguments), original(*arguments))[1])
    yield used


@functools.cache
def dataset():
  return datasets.load("synthetic")


@functools.cache
def search_of(space):
  """A search of one epoch of two steps."""
  cells = 3 if space.num_inputs == 1 else 1
  workload = ImageWorkload(image_supernet.Config(channels=2, cells=cells, stem_multiplier=1), DATA, space, dataset(), seed=0)
  config = Config(epochs=1, arch_learning_rate=0.1, diagnose_every=0)
  return DartsTask(config, workload, FiniteDifference(), jax.random.key(0))


@pytest.mark.parametrize("space", [ONE_TYPE, ONE_INPUT], ids=lambda space: space.name)
def test_a_search_and_a_training_of_what_it_found(space, tmp_path, compilations):
  task = search_of(space)
  whole = loop.restore(task, None)
  (record,) = loop.run(task, whole)
  assert np.isfinite(record["metrics"]["valid/loss"]) and bits(whole.state.search.arch) != bits(task.init().search.arch)
  found = space.validate(space.parse(record["genotype"]))

  with Checkpoints(tmp_path / "checkpoints") as checkpoints:  # one step, a checkpoint, and on from there
    stepped, _ = task.step(task.init(), 0)
    checkpoints.save(1, stepped, {})
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    restored = checkpoints.restore(task.init())
  with compilations() as compiled:
    resumed, _ = task.step(restored.state, 1)
  assert compiled == []
  assert bits(resumed.search) == bits(task.step(task.step(task.init(), 0)[0], 1)[0].search)

  cells = 3 if space.num_inputs == 1 else 1
  size = derived_image.Config(channels=2, cells=cells, stem_multiplier=1, auxiliary=False)
  rates = images.Config(epochs=1, auxiliary_weight=0.0, drop_path=0.2)
  build = functools.partial(derived_image.DerivedImageNetwork, size, found)
  retraining = images.RetrainTask(rates, build, dataclasses.replace(DATA, train_portion=0.5), dataset(), 0)
  position = loop.restore(retraining, None)
  for record in loop.run(retraining, position):
    assert np.isfinite(record["metrics"]["train/loss"]) and np.isfinite(record["metrics"]["valid/loss"])


def test_shared_weights_take_statistics_of_any_momentum_and_leave_streams_alone():
  config = weight_sharing.Config(epochs=1, statistics_batches=3)
  task = weight_sharing.SharedWeightsTask(
    config, image_supernet.Config(channels=2, cells=1, stem_multiplier=1), DATA, ONE_TYPE, dataset(), 0
  )
  path = one_hot(ONE_TYPE, ONE_TYPE.sample(np.random.default_rng(0)))
  stats = task.statistics_of(task.initial.weights, path)
  for before, after in zip(jax.tree.leaves(task.initial.stats), jax.tree.leaves(stats), strict=True):
    assert before.dtype == after.dtype and before.shape == after.shape
  momenta = {momentum for momentum, leaf in zip(jax.tree.leaves(task._momenta), jax.tree.leaves(stats), strict=True) if momentum}
  assert momenta == {0.9, 0.8, 0.99}
  assert np.isfinite(task.validate(task.initial.weights, path)["loss"])


@pytest.mark.parametrize(
  ("changes", "stack", "message"),
  [
    ({"num_inputs": 1}, ImageStack, "does not fit ImageStack: num_inputs is 1; a cell reads the two cells before it, so it must be 2"),
    ({"cells": ("a", "b")}, ImageStack, "does not fit ImageStack: cells is .*; give one type, or one type and 'reduce'"),
    ({"num_inputs": 2}, ResidualStack, "does not fit ResidualStack: num_inputs is 2; a cell reads one cell, so it must be 1"),
    ({"num_inputs": 1}, ResidualStack, "does not fit ResidualStack: num_outputs is None; the last node is the output of a cell"),
    ({"num_inputs": 1, "cells": ("a", "b")}, ResidualStack, "does not fit ResidualStack: cells is .*; this space has one type of cell"),
  ],
)
def test_spaces_that_fit_no_stack_are_refused_where_they_are_registered(changes, stack, message):
  with own_units.for_a_while():
    space = dataclasses.replace(ONE_TYPE, name="other", **changes)
    SPACES.register(space.name)(space)
    with pytest.raises(InputError, match=f"^space 'other' {message}"):
      STACKS.register(space.name)(stack)
  with pytest.raises(InputError, match="^unknown space 'other'"):
    STACKS.register("other")(ImageStack)
