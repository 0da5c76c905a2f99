"""Supernets of the spaces of NASNet, AmoebaNet and NAONet: mixtures of all operations, in the stack of the derived networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.blocks import ReluConvBN
from dnas.cells.nasnet_stack import NasnetStack
from dnas.cells.registries import SPACES, STACKS
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.image_supernet import Config, ImageSupernet

SCAFFOLD = [name for name in STACKS if issubclass(STACKS[name], NasnetStack)]


def supernet(name, parts=1):
  config = Config(channels=8, cells=3)
  return ImageSupernet(config, SPACES[name], 3, 4, np.random.default_rng(0), EdgeOptions(parts))


@pytest.mark.parametrize(("name", "parts"), [(name, (1, 4)[index % 2]) for index, name in enumerate(SCAFFOLD)])
def test_gradients_reach_weights_and_mixtures(name, parts):
  space, (network, variables) = SPACES[name], functional.split(supernet(name, parts))
  mixture = {cell: jnp.full(space.arch_shape(), 1 / len(space.operations)) for cell in space.cells}
  mixture |= {f"{cell} edges": jnp.ones(len(space.edges)) for cell in space.cells} if parts > 1 else {}

  def loss(weights, mixture):
    logits, stats = functional.apply(network, functional.Variables(weights, variables.stats), jnp.zeros((2, 8, 8, 3)), mixture, train=True)
    assert logits.shape == (2, 4)
    return jnp.sin(logits).sum(), stats

  (_, stats), gradients = jax.eval_shape(functools.partial(jax.value_and_grad(loss, (0, 1), has_aux=True), variables.weights), mixture)
  assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, (variables.weights, mixture))
  assert jax.tree.map(jnp.shape, stats) == jax.tree.map(jnp.shape, variables.stats)


@pytest.mark.parametrize("name", SCAFFOLD)
def test_the_first_cell_brings_the_stem_to_its_channels(name):
  first = supernet(name).stack.cells[0]
  assert isinstance(first.preprocess0, ReluConvBN) and first.preprocess0.kernel.shape == (1, 24, 8) and first.projection0 is None
