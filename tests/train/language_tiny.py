"""The smallest retraining on text that has all its parts; its cell of two nodes compiles quickly."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from helpers import quick_jit

from dnas.cells.language_model import Config as NetworkConfig
from dnas.core import keys
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.data import datasets, text
from dnas.nets.derived_language import derived_language_model
from dnas.train import language

GENOTYPE = Genotype("darts_recurrent", (("recurrent", CellGenotype(((Edge("tanh", 0),), (Edge("relu", 1),)), (1, 2))),))
DATA = text.Config("synthetic_text", tokens=600, batch_size=8, sequence_length=10, length_deviation=2.0, buckets=2, eval_batch_size=10)
NETWORK = NetworkConfig(units=8, dropout_words=0.1, dropout_inputs=0.1, dropout_hidden=0.1, dropout_output=0.1, temporal_penalty=0.1)
CONFIG = language.Config(epochs=4, learning_rate=20.0, weight_decay=1e-3, gradient_clip=0.25, patience=1)


@functools.cache
def dataset(data=DATA):
  return datasets.text_from_config(data)


def make_network(config=NETWORK):
  return derived_language_model(config, GENOTYPE, len(dataset().vocabulary), keys.generator(32, "weights"))


@functools.cache
def make_task(config=CONFIG, data=DATA, network=NETWORK):
  """A task whose step takes less time to compile than to run well."""
  task = language.RetrainTask(config, make_network(network), data, dataset(data), seed=32)
  task._step = quick_jit(functools.partial(language.train_step, network=task.network, optimizer=task._optimizer))
  return task


def spoiled(state):
  """The state with weights from which no loss is finite."""
  return dataclasses.replace(state, weights=jax.tree.map(lambda leaf: leaf * jnp.nan, state.weights))


def published_trigger(losses, patience):
  """The epoch in which the authors' code goes over to averages: it appends a loss to those before only after it has compared it."""
  before = []
  for epoch, loss in enumerate(losses, start=1):
    if len(before) > patience and loss > min(before[:-patience]):
      return epoch
    before.append(loss)
  return None
