"""Trained networks of chains: their arrays layer by layer, and the network of another chain that inherits them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional
from dnas.cells.blocks import on_device
from dnas.cells.functional import Variables
from dnas.compiler.functions import compiled
from dnas.core import keys
from dnas.core.chain_space import ChainSpace, layers_of
from dnas.core.genotype import Genotype
from dnas.nets.morphisms.base import Inherited, Trained
from dnas.nets.morphisms.chain import FILTERS, MORPHISMS, STATISTICS, VECTORS, Arrays, Chain, Draws
from dnas.nets.morphisms.chain_path import path

Tree = Any
_OWN = (*FILTERS, "depthwise", "skip_weights")


def moments(network: functional.Network, variables: Variables, images: jax.Array) -> list[tuple[np.ndarray, np.ndarray]]:
  """Returns mean and variance of every channel, each [1, D], of the outputs of all layers over a batch, with batch statistics."""
  found = compiled(functools.partial(_moments, network))(variables, images)
  return [(np.asarray(mean)[None], np.asarray(variance)[None]) for mean, variance in found]


def _moments(network: functional.Network, variables: Variables, images: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
  states, _ = functional.call(network, variables, lambda module: module.states(images, train=True))
  axes = (0, 1, 2)
  return [(jnp.mean(state, axes), jnp.var(state, axes)) for state in states[1:]]


def to_arrays(count: int, tree: Tree) -> list[Arrays]:
  """Returns the weights, or the momentum, of `count` layers and of the classifier. Poolings have none."""
  found: list[Arrays] = []
  for number in range(count):
    own = dict(tree["layers"].get(number, {}))
    found.append({name: np.asarray(value) for name, value in (own | own.pop("norm", {})).items() if name != "norm"})
  return [*found, {name: np.asarray(value) for name, value in tree["classifier"].items()}]


def to_tree(arrays: list[Arrays]) -> Tree:
  """Returns the weights, or the momentum, as those of the network; the inverse of `to_arrays`."""
  layers: dict[int, Tree] = {}
  for number, own in enumerate(arrays[:-1]):
    if "scale" in own:
      norm = {name: on_device(own[name]) for name in VECTORS}
      layers[number] = {name: on_device(own[name]) for name in _OWN if name in own} | {"norm": norm}
  return {"layers": layers, "classifier": {name: on_device(value) for name, value in arrays[-1].items()}}


def to_chain(genotype: Genotype, network: functional.Network, trained: Trained, images: jax.Array, channels: int) -> Chain:
  """Returns the arrays of a trained network. `images` are a batch, [B, H, W, C], that gives the moments of its states."""
  layers = layers_of(genotype)
  weights = to_arrays(len(layers), trained.variables.weights)
  measured = moments(network, trained.variables, images)
  for number, (own, of_state) in enumerate(zip(weights[:-1], measured, strict=True)):
    statistics = trained.variables.stats["layers"].get(number, {}).get("norm", {})
    own |= {name: np.asarray(value) for name, value in statistics.items()} | dict(zip(STATISTICS[2:], of_state, strict=True))
  momentum = None if trained.momentum is None else to_arrays(len(layers), trained.momentum)
  return Chain(layers, weights, momentum, channels)


def from_chain(chain: Chain) -> Trained:
  """Returns the arrays as those of the network; the inverse of `to_chain`."""
  stats = {
    number: {"norm": {name: on_device(own[name]) for name in STATISTICS[:2]}} for number, own in enumerate(chain.weights) if "mean" in own
  }
  momentum = None if chain.momentum is None else to_tree(chain.momentum)
  return Trained(Variables(to_tree(chain.weights), {"layers": stats}), momentum)


def inherited(space: ChainSpace, start: Genotype, goal: Genotype, chain: Chain, seed: int, noise: float) -> Inherited:
  """Returns the network of another chain that inherits the arrays of a trained one, which are changed in place.

  Args:
    space: the space of both.
    start: the architecture that was trained.
    goal: the architecture that inherits.
    chain: the arrays of the trained network, from `to_chain`.
    seed: draws the channels that are copied, and the noise.
    noise: see `Draws`.
  """
  exact = True
  for number, (edit, layers) in enumerate(path(space, start, goal)):
    MORPHISMS[edit.kind].carry(chain, edit, Draws(keys.generator(seed, "morphism", number), noise))
    exact &= MORPHISMS[edit.kind].exact
    chain.layers = layers
  return Inherited(from_chain(chain), exact)
