"""Differentiable methods and the remedies against collapse, on a toy whose best operations are known."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from methods_toy import SPACE, STEPS, ToyWorkload

from dnas.core import genotype as genotypes
from dnas.core.errors import FieldError
from dnas.search import diagnostics, remedies
from dnas.search.darts import Config, DartsTask
from dnas.search.methods import METHODS, Gaea
from dnas.search.remedies import Remedies
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.train import loop

CONFIG = Config(epochs=10, learning_rate=0.5, momentum=0.0, gradient_clip=0.0, weight_decay=0.0, arch_learning_rate=0.1, diagnose_every=0)
RATES = {"gaea": 0.5, "gdas": 0.2, "fair_darts": 0.2}  # of the architecture, where the toy wants another one
BEST = [["good"], ["good", "good"]]


def search(name, seed, *, head_start=0.0, sharp=0.0, remedy=None, **changes):
  method = METHODS[name]()
  config = dataclasses.replace(CONFIG, **({"arch_learning_rate": RATES.get(name, 0.1)} | changes))
  task = DartsTask(config, ToyWorkload(head_start, sharp), HYPERGRADIENTS[method.hypergradient](), jax.random.key(seed), method, remedy)
  position = loop.restore(task, None)
  records = list(loop.run(task, position, early_stop=task.stops))
  return task, position, records


def found(task, position):
  return [[edge.operation for edge in node] for node in task.result(position.history).genotype["normal"].nodes]


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_finds_the_best_operations_for_every_seed(name):
  for seed in range(5):
    task, position, records = search(name, seed)
    print(name, seed, found(task, position), np.round(records[-1]["mixture"]["normal"], 2).tolist())
    assert found(task, position) == BEST, seed
