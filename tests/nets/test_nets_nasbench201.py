"""The networks of NAS-Bench-201: weights, the supernet at one-hot weights, and what is refused."""

import dataclasses

import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.nasbench201 import SPACE, from_string
from dnas.cells.operations import OperationStack
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.core.space import NONE
from dnas.nets.derived_image import Config, DerivedImageNetwork
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot

PUBLISHED = Config(channels=16, cells=15, stem_multiplier=1, auxiliary=False)
SMALL = Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
MIXED = from_string("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|")
SHAPE = (9, 9, 3)


def derived(config, genotype, shape=SHAPE):
  return functional.split(DerivedImageNetwork(config, genotype, shape, 10, np.random.default_rng(0)))


@pytest.mark.parametrize(  # the column `params` of the benchmark
  "text, weights",
  [
    ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|", 1_073_466),  # 6111, the best
    ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", 1_531_546),
    ("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|", 129_306),  # 0
    ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 73_306),
  ],
)
def test_golden_counts(text, weights):
  assert tree.size(derived(PUBLISHED, from_string(text), (32, 32, 3))[1].weights) == weights


def test_a_one_hot_supernet_is_the_derived_network():
  config = image_supernet.Config(channels=2, cells=3, stem_multiplier=1)
  module = image_supernet.ImageSupernet(config, SPACE, 3, 10, np.random.default_rng(1))
  network, discrete = derived(SMALL, MIXED)
  for stage in range(3):
    for source in range(3):
      found, wanted = module.stack.stages[stage][0].outgoing[source], discrete.weights["stack"]["stages"][stage][0]["outgoing"][source]
      for name, operation in wanted["operations"].items():
        if "others" in operation and name in operation["others"] and operation["others"][name]:
          edges = [t for t, node in enumerate(MIXED["cell"].nodes, 1) for edge in node if tuple(edge) == (name, source)]
          places = np.array([found.targets.index(target) for target in edges])
          supernet_operation = found.operations.others[name]
          supernet_operation.kernel.set_value(
            supernet_operation.kernel[...].at[places].set(operation["others"][name]["kernel"])
          )
  graph, variables = functional.split(module)
  shared = {name: value for name, value in discrete.weights["stack"].items() if name != "stages"}
  weights = dict(variables.weights) | {"classifier": discrete.weights["classifier"]}
  weights["stack"] = dict(weights["stack"]) | shared
  variables = dataclasses.replace(variables, weights=weights)
  images = np.random.default_rng(2).normal(size=(4, *SHAPE)).astype(np.float32)
  logits, _ = functional.apply(graph, variables, images, one_hot(SPACE, MIXED), train=True)
  (expected, auxiliary), _ = functional.apply(network, discrete, images, train=True)
  assert auxiliary is None and np.ptp(expected) > 0.1
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_poolings_are_not_normalized_and_no_operation_is_left_out():
  module = image_supernet.ImageSupernet(image_supernet.Config(2, 3, 1), SPACE, 3, 10, np.random.default_rng(1))
  for source, edges in enumerate(module.stack.stages[0][0].outgoing):
    assert len(edges.targets) == 3 - source and {name for name, _ in edges.mixing.columns} == set(SPACE.operations) - {NONE}
    assert not edges.targets or (edges.pools.pool_norm is None and edges.pools.pools == ("avg_pool_3x3",))


def test_without_edges_the_logits_are_the_same_for_every_image():
  network, variables = derived(SMALL, from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
  (logits, _), _ = functional.apply(network, variables, np.random.default_rng(2).normal(size=(4, *SHAPE)).astype(np.float32), train=False)
  assert logits.shape == (4, 10) and (np.asarray(logits) == np.asarray(logits)[:1]).all()


@pytest.mark.parametrize(
  "changes, sentence",
  [
    ({"cells": 4}, "network.cells is 4; this space has three equal stages of cells, so give a multiple of 3"),
    ({"stem_multiplier": 3}, "network.stem_multiplier is 3; the stem of this space is as wide as its first stage, so it must be 1"),
    ({"auxiliary": True}, "network.auxiliary is True; the networks of space 'nasbench201' have no auxiliary head"),
  ],
)
def test_sizes_that_the_space_does_not_have_are_refused(changes, sentence):
  with pytest.raises(FieldError, match=sentence):
    derived(dataclasses.replace(SMALL, **changes), MIXED, (32, 32, 3))
  if "auxiliary" not in changes:
    with pytest.raises(FieldError, match=sentence.replace("network", "supernet")):
      size = image_supernet.Config(**({"channels": 2, "cells": 3, "stem_multiplier": 1} | changes))
      image_supernet.ImageSupernet(size, SPACE, 3, 10, np.random.default_rng(0))


@pytest.mark.parametrize("size, stride", [(1, 1), (3, 1), (3, 2)])
def test_the_convolutions_against_loops(size, stride):
  rng = np.random.default_rng(0)
  name = f"nor_conv_{size}x{size}"
  network, variables = functional.split(OperationStack((name,), 2, 3, stride, True, rng))
  kernels = np.asarray(variables.weights["others"][name]["kernel"], np.float64)
  x = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
  outputs, _ = functional.apply(network, variables, x, train=True)
  padded = np.pad(np.maximum(x, 0), ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0))).astype(np.float64)
  side = -(-5 // stride)
  for edge in range(2):
    out = np.zeros((2, side, side, 3))
    for i in range(side):
      for j in range(side):
        window = padded[:, stride * i : stride * i + size, stride * j : stride * j + size]
        out[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernels[edge])
    expected = (out - out.mean((0, 1, 2))) / np.sqrt(out.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(outputs[name][edge], expected, rtol=1e-3, atol=1e-4)
