"""The network whose architecture is an argument is the derived network of that architecture."""

import jax
import numpy as np
import pytest
from flax import nnx
from helpers import quick_jit

from dnas.cells import functional, nasbench201
from dnas.core import tree
from dnas.core.errors import InputError
from dnas.core.genotype import Genotype
from dnas.nets import switched_image
from dnas.nets.derived_image import Config, DerivedImageNetwork

SIZES = switched_image.Sizes(channels=2, cells=2)
CELLS = (
  "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|",
  "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|",
)


def derived(genotype: Genotype) -> DerivedImageNetwork:
  config = Config(channels=SIZES.channels, cells=3 * SIZES.cells, stem_multiplier=1, auxiliary=False)
  return DerivedImageNetwork(config, genotype, (8, 8, 1), 10, np.random.default_rng(0))


def given(module: DerivedImageNetwork, variables: functional.Variables) -> DerivedImageNetwork:
  """Gives the derived network the arrays of the other one."""
  weights, stats, stack = variables.weights, variables.stats, module.stack

  def fill(norm: nnx.Module, weights: dict, stats: dict, at: tuple | slice = slice(None)):
    for name, values in {**{name: weights[name] for name in ("scale", "bias")}, **stats}.items():
      array = values[at]
      getattr(norm, name).set_value(array.reshape(getattr(norm, name)[...].shape))

  stack.stem.kernel.set_value(weights["stem"]["kernel"])
  fill(stack.stem_norm, weights["stem"], stats["stem"])
  fill(stack.last_norm, weights["last"], stats["last"])
  for stage, cells in enumerate(stack.stages):
    if stage:
      block, arrays, running = stack.reductions[stage - 1], weights[f"reduction_{stage}"], stats[f"reduction_{stage}"]
      for number in (1, 2):
        getattr(block, f"conv{number}").kernel.set_value(arrays[f"conv{number}"]["kernel"])
        fill(getattr(block, f"norm{number}"), arrays[f"conv{number}"], running[f"conv{number}"])
      block.shortcut.kernel.set_value(arrays["shortcut"])
    arrays, running = weights[f"cells_{stage}"], stats[f"cells_{stage}"]
    for number, cell in enumerate(cells):
      for source, edges in enumerate(cell.outgoing):
        for name, targets in edges.targets:
          if name == "nor_conv_3x3":
            rows = np.array([nasbench201.SPACE.edges.index((source, target)) for target in targets])
            operation = edges.operations[name].others[name]
            operation.kernel.set_value(arrays["kernel"][number, rows])
            fill(operation.norm, arrays, running, (number, rows))
  for name in ("kernel", "bias"):
    getattr(module.classifier, name).set_value(weights["classifier"][name])
  return module


LABELS = np.arange(6)


switched_logits = quick_jit(switched_image.apply, static_argnames="train")


@quick_jit
def switched_gradient(variables, operations, images: jax.Array) -> jax.Array:
  return jax.grad(lambda images: switched_image.apply(variables, operations, images, train=True)[0][LABELS, LABELS].sum())(images)


@pytest.mark.parametrize("text", CELLS)
def test_it_is_the_derived_network(text: str):
  genotype, rng = nasbench201.from_string(text), np.random.default_rng(1)
  operations = switched_image.encode(genotype)
  drawn = switched_image.init(SIZES, rng)
  variables = jax.tree.map(lambda array: jax.numpy.asarray(array + 0.1 * rng.random(array.shape, np.float32)), drawn)
  images = rng.standard_normal((6, 8, 8, 1)).astype(np.float32)
  network, arrays = functional.split(given(derived(genotype), variables))

  def derived_logits(images: jax.Array, train: bool):
    (logits, _), stats = functional.apply(network, arrays, images, train=train)
    return logits, stats

  derived_gradient = quick_jit(jax.grad(lambda images: derived_logits(images, train=True)[0][LABELS, LABELS].sum()))
  for train in (True, False):
    expected, stats = quick_jit(derived_logits, static_argnames="train")(images, train=train)
    found, moved = switched_logits(variables, operations, images, train=train)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for name in ("mean", "variance"):
      np.testing.assert_allclose(moved["last"][name], stats["stack"]["last_norm"][name][0], rtol=1e-4, atol=1e-5)
  found, expected = switched_gradient(variables, operations, images), derived_gradient(images)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("text", CELLS)
def test_the_weights_are_those_of_the_derived_network(text: str):
  genotype = nasbench201.from_string(text)
  _, arrays = functional.split(derived(genotype))
  assert switched_image.count(SIZES, genotype)[0] == tree.size(arrays.weights)


def test_multiply_adds_by_hand():
  identity = nasbench201.from_string("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
  stem, classifier = 9 * 2 * 64, 8 * 10
  first = (9 * 2 * 4 + 9 * 4 * 4 + 2 * 4) * 16
  second = (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8) * 4
  assert switched_image.count(SIZES, identity)[1] == stem + first + second + classifier
  convolved = nasbench201.from_string("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
  cells = 2 * 9 * (2 * 2 * 64 + 4 * 4 * 16 + 8 * 8 * 4)
  assert switched_image.count(SIZES, convolved)[1] == stem + first + second + classifier + cells


def test_an_operation_that_the_space_lacks_is_refused():
  with pytest.raises(InputError, match="is not an architecture of space 'nasbench201'"):
    switched_image.encode(nasbench201.from_string("|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
