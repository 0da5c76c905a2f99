"""A search and a training in float64, which `jax_enable_x64` asks for."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from dnas.cells.registries import SPACES
from dnas.core import tree
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.data import base, datasets
from dnas.nets import derived_image
from dnas.run import loop
from dnas.search.gradient.darts import Config, DartsTask
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.supernet import image_supernet
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.train import images

pytestmark = pytest.mark.usefixtures("quick_compilation", "x64")
DATA = base.Config("synthetic", examples=32, batch_size=8, crop_padding=1, flip=True, cutout_length=2)
SPACE = dataclasses.replace(SPACES["darts_conv"], num_nodes=1)
NODES = (((Edge("sep_conv_3x3", 0), Edge("dil_conv_3x3", 1)),), (2,))
CELL = Genotype("darts_conv", tuple((cell, CellGenotype(*NODES)) for cell in SPACE.cells))


def run(task):
  """Returns the position at the end of a run, whose weights must be what was asked for."""
  position = loop.restore(task, None)
  assert all(np.isfinite(list(record["metrics"].values())).all() for record in loop.run(task, position))
  return position


def types(values):
  return {leaf.dtype for leaf in jax.tree.leaves(values)}


def test_a_search():
  workload = ImageWorkload(image_supernet.Config(2, 1), DATA, SPACE, datasets.from_config(DATA), 0)
  search = run(DartsTask(Config(epochs=1, diagnose_every=0), workload, FirstOrder(), jax.random.key(0))).state.search
  assert types((search.weights, search.stats, search.arch)) == {np.dtype("float64")}


def test_a_training_and_the_derivative_of_its_loss():
  network = derived_image.Config(channels=2, cells=2, auxiliary=False)
  build = functools.partial(derived_image.DerivedImageNetwork, network, CELL)
  data = dataclasses.replace(DATA, train_portion=0.5)
  task = images.RetrainTask(images.Config(epochs=1, drop_path=0.0), build, data, datasets.from_config(DATA), 0)
  state = run(task).state
  assert types((state.weights, state.stats, state.opt_state)) == {np.dtype("float64")}
  key = images.step_key(state.key, np.int32(0))
  rest = state.stats, task._pipeline.shuffled(0, key), key, task.rates(0)
  _, (gradient,) = task.gradient(state.weights, *rest)
  rng = np.random.default_rng(0)
  direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), state.weights)
  above, below = (task.gradient(tree.add_scaled(state.weights, step, direction), *rest)[0][0] for step in (1e-7, -1e-7))
  assert float(tree.dot(gradient, direction)) == pytest.approx(float(above - below) / 2e-7, rel=1e-5)
