"""Estimates of memory: published numbers of weights, what was measured, and networks that are built."""

import dataclasses

import numpy as np
import pytest

from dnas.cells import functional, sizes
from dnas.cells.registries import SPACES, STACKS
from dnas.core import memory, tree
from dnas.core.errors import InputError
from dnas.nets import derived_image
from dnas.supernet import image_supernet

TEXT = {"nodes": 8, "activations": 1, "length": 35, "batch": 64, "eval_length": 35, "eval_batch": 10}
IMAGES = {"stem_multiplier": 3, "image_shape": (32, 32, 3), "num_classes": 10, "states": 6, "outputs": 4, "padding": 4}
SUPERNET = {"channels": 16, "cells": 8, "edges": 14, "operations": 8, **IMAGES}
RETRAINED = {"channels": 36, "cells": 20, "edges": 8, "operations": 1, "keeps_edges": True, "batch": 96, "eval_batch": 256, **IMAGES}


@pytest.mark.parametrize("units, vocabulary, weights", [(300, 10_000, 4_810_000), (700, 33_278, 33_127_878)])
def test_weights_of_published_language_models(units, vocabulary, weights):
  assert sizes.language_model(units=units, vocabulary=vocabulary, **TEXT).weights == 4 * weights


@pytest.mark.parametrize("keeps_edges, measured", [(True, 0.93e9), (False, 0.14e9)])
def test_the_published_supernet_needs_no_less_than_the_estimate(keeps_edges, measured):
  estimate = sizes.image_network(keeps_edges=keeps_edges, batch=16, eval_batch=16, **SUPERNET)
  assert measured / 4 < estimate.total < measured
  whole = sizes.image_network(keeps_edges=keeps_edges, batch=64, eval_batch=256, **SUPERNET)
  assert whole.activations == pytest.approx(4 * estimate.activations, rel=0.01) or not keeps_edges
  assert estimate.times(3).total == 3 * estimate.total


def test_published_runs_fit_into_a_small_machine():
  assert sizes.image_network(keeps_edges=True, batch=64, eval_batch=256, **SUPERNET).total < 4e9
  assert sizes.image_network(**RETRAINED).total < 4e9
  assert sizes.language_model(units=300, vocabulary=10_000, **(TEXT | {"batch": 256, "activations": 5})).total < 4e9


@pytest.mark.parametrize("name", list(STACKS))
def test_networks_have_no_fewer_weights_than_the_estimate(name):
  space, rng = SPACES[name], np.random.default_rng(0)
  multiplier = 1 if name == "nasbench201" else 3
  shape = {"stem_multiplier": multiplier, "image_shape": (8, 8, 3), "num_classes": 4, "padding": 0, "keeps_edges": True, "batch": 1}
  common = {"channels": 8, "cells": 3, "states": space.num_inputs + space.num_nodes, "outputs": len(space.concat), "eval_batch": 1, **shape}
  config = image_supernet.Config(channels=8, cells=3, stem_multiplier=multiplier)
  _, variables = functional.split(image_supernet.ImageSupernet(config, space, 3, 4, rng))
  estimate = sizes.image_network(edges=len(space.edges), operations=len(space.operations), **common)
  assert tree.size(variables.weights) / 8 < estimate.weights / 4 < tree.size(variables.weights)
  genotype = space.sample(rng)
  nodes, edges, outputs = sizes.of_genotype([cell for _, cell in genotype.cells])
  assert (nodes, outputs) == (space.num_nodes, len(space.concat))
  network = derived_image.Config(channels=8, cells=3, stem_multiplier=multiplier, auxiliary=False)
  _, variables = functional.split(derived_image.DerivedImageNetwork(network, genotype, (8, 8, 3), 4, rng))
  convolutions = sum("conv" in operation for operation in space.operations)
  if space.edge_choices is None and convolutions >= len(space.operations) / 2:  # else most edges may be without weights
    assert sizes.image_network(edges=edges, operations=1, **common).weights / 4 < tree.size(variables.weights)


def test_convolutions_by_hand():
  layers = [sizes.Convolution(3, 2, 4), sizes.Convolution(1, 4, 5, 2)]
  estimate = sizes.convolutions(layers, (3, 5, 2), batch=7, eval_batch=1, padding=1)
  read = 2 * 15 + 4 * 15  # what goes into both
  assert estimate == memory.Estimate(4 * (9 * 2 * 4 + 4 * 5), 4 * 7 * read + 7 * 5 * 7 * 2)
  assert sizes.convolutions(layers, (3, 5, 2), batch=1, eval_batch=90, padding=0).activations == 4 * 90 * (2 + 4) * 15


def test_matrices_by_hand():
  common = {"vocabulary": 11, "length": 6, "batch": 2, "eval_length": 6}
  estimate = sizes.matrices([(3, 8), (2, 8)], eval_batch=1, **common)
  assert estimate == memory.Estimate(4 * (11 * 3 + 3 * 8 + 2 * 8), 4 * 6 * 2 * (2 * 11 + 3 + 2))
  assert sizes.matrices([(3, 8), (2, 8)], eval_batch=90, **common).activations == 4 * 6 * 90 * 11


def test_what_does_not_fit_is_refused_with_the_estimate_unless_it_is_forced(monkeypatch):
  monkeypatch.setattr(memory, "available", lambda: 8 * 10**9)
  huge = sizes.image_network(**(RETRAINED | {"channels": 10**5}))
  sentence = r"by its shapes the run needs [\d,]+ GB of memory or more \(weights .* GB, activations .* GB, data 0 GB\), and there are 8 GB"
  with pytest.raises(InputError, match=f"^{sentence}; lower it, or give --force to try it.$"):
    memory.check_fits(huge, "lower it", False)
  memory.check_fits(huge, "lower it", True)
  memory.check_fits(dataclasses.replace(huge, weights=0, activations=0, data=8 * 10**9), "lower it", False)


def test_this_machine_has_memory():
  assert 10**8 < memory.available() < 10**15
  assert memory.shown_bytes(10**30) == "1,000,000,000,000,000,000,000 GB" and memory.shown_bytes(15 * 10**8) == "1.5 GB"
