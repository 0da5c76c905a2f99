"""Costs at inference: against counts by hand, published figures, and XLA's count of every product."""

import functools
import math
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dnas.cells import convolution, functional, language_model
from dnas.cells.registries import CHAIN_SPACES, IMAGE_GENOTYPES, SPACES, STACKS
from dnas.compiler import counts, inference
from dnas.core.costs import Costs, counted_adds
from dnas.launchers.configs import NASBENCH201_TRAIN
from dnas.nets import costs, of_genotype
from dnas.nets.conv_chain import ChainNetwork
from dnas.nets.derived_image import Config
from dnas.nets.derived_language import derived_language_model
from dnas.nets.models import IMAGE_MODELS, LANGUAGE_MODELS

CIFAR = (32, 32, 3)


def image_network(genotype, config, shape=CIFAR, classes=10):
  return of_genotype.build(config, genotype, shape, classes, np.random.default_rng(0))


def of_image(module, shape=CIFAR):
  return costs.of_image(*functional.split(module), shape)


def test_cells_of_the_published_network_are_those_counted_by_hand():
  """DARTS_V2 at 36 channels and 20 cells: its normal cell has five separable convolutions and a dilated one, and its other cell none."""
  layers = {one.path: one for one in costs.image_layers(image_network(IMAGE_GENOTYPES["DARTS_V2"], Config(auxiliary=False)), CIFAR, 2)}
  pixels, channels = 32 * 32, 36
  pointwise, tap = channels * channels * pixels, 9 * channels * pixels
  preprocessed = 2 * 4 * channels * channels * pixels  # two 1x1 convolutions of 4 x 36 channels
  normal = layers["stack.cells.2"]
  assert normal.multiply_adds == preprocessed + 5 * 2 * (tap + pointwise) + (tap + pointwise)
  assert normal.weights == 2 * (144 * 36 + 72) + 11 * (9 * 36 + 36 * 36 + 72) and normal.shape == (1, 32, 32, 144)
  reduction = layers["stack.cells.6"]
  assert reduction.multiply_adds == 2 * 144 * 72 * pixels and reduction.shape == (1, 16, 16, 288)  # pooling and skips alone
  after = layers["stack.cells.7"]  # its first input is halved by two 1x1 convolutions of half the channels
  halved, chosen, quarter = 144 * 72 * pixels // 4, 288 * 72 * pixels // 4, 256
  assert after.multiply_adds == halved + chosen + 11 * (9 * 72 + 72 * 72) * quarter
  assert layers["classifier"].multiply_adds == 576 * 10
  assert sum(one.multiply_adds for one in layers.values() if one.depth == 0) == 528_359_040


def test_figures_of_published_networks():
  whole = of_image(image_network(IMAGE_GENOTYPES["DARTS_V2"], Config(auxiliary=False)))
  assert (whole.weights, whole.multiply_adds) == (3_349_342, 528_359_040)
  config = Config(channels=48, cells=14, stem="imagenet", stem_multiplier=1, auxiliary=False)
  shape = (224, 224, 3)
  of_imagenet = of_image(image_network(IMAGE_GENOTYPES["DARTS_V2"], config, shape, 1000), shape)
  assert (of_imagenet.weights, of_imagenet.multiply_adds) == (4_718_752, 529_911_552)
  assert abs(of_imagenet.multiply_adds / 574e6 - 1) < 0.08  # the paper says 574 M, and not how it counts


PUBLISHED = {  # of the released files of NAS-Bench-201: weights, and multiply-adds with the 10 additions of the classifier's bias
  "|nor_conv_1x1~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|": (157_306, 19_579_530),
  "|avg_pool_3x3~0|+|none~0|nor_conv_3x3~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|": (587_386, 82_494_090),
}


def test_nasbench201():
  for text, (weights, adds) in PUBLISHED.items():
    found = of_image(image_network(SPACES["nasbench201"].parse(text), NASBENCH201_TRAIN.network))
    assert (found.weights, found.multiply_adds + 10) == (weights, adds)


def test_two_hundred_rows_of_nasbench201():
  path = pathlib.Path(os.environ.get("DNAS_DATA_DIR", ""), "nb201", "nb201.npz")
  if "DNAS_DATA_DIR" not in os.environ or not path.is_file():
    pytest.skip("the real table is read where DNAS_DATA_DIR names the folder of nb201/nb201.npz")
  table, seen = np.load(path), {}
  names = table["op_names"].astype(str)
  for row in np.random.default_rng(0).choice(len(table["ops"]), 200, replace=False):
    o = names[table["ops"][row]]
    text = f"|{o[0]}~0|+|{o[1]}~0|{o[2]}~1|+|{o[3]}~0|{o[4]}~1|{o[5]}~2|"
    found = of_image(image_network(SPACES["nasbench201"].parse(text), NASBENCH201_TRAIN.network))
    seen[text] = (found.weights, found.multiply_adds + 10) == (table["params"][row], table["flops"][row])
  assert len(seen) == 200 and all(seen.values())


def products(jaxpr):
  for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
    if eqn.primitive.name in counts.PRODUCTS:
      yield eqn
    for inner in counts.inner_jaxprs(eqn.params):
      yield from products(inner)


def by_xla(eqn):
  """Half of XLA's floating-point operations of one product. XLA counts no tap on padding, so the padding becomes part of the input."""
  shapes, params = [list(atom.aval.shape) for atom in eqn.invars], dict(eqn.params)
  if "padding" in params:
    for axis, around in zip(params["dimension_numbers"].lhs_spec[2:], params["padding"], strict=True):
      shapes[0][axis] += sum(around)
    params["padding"] = tuple((0, 0) for _ in params["padding"])
  given = [jax.ShapeDtypeStruct(shape, atom.aval.dtype) for shape, atom in zip(shapes, eqn.invars, strict=True)]
  return jax.jit(lambda *arrays: eqn.primitive.bind(*arrays, **params)).lower(*given).cost_analysis()["flops"] / 2


NETWORKS = [*STACKS, *CHAIN_SPACES, *IMAGE_MODELS, *LANGUAGE_MODELS, "darts_recurrent"]


def tiny(name):
  """The smallest network of a space or of a model, and an inference of it."""
  rng = np.random.default_rng(0)
  if name == "darts_recurrent" or name in LANGUAGE_MODELS:
    derived = functools.partial(derived_language_model, language_model.Config(units=6), SPACES["darts_recurrent"].sample(rng))
    module = (LANGUAGE_MODELS[name].smallest().build if name in LANGUAGE_MODELS else derived)(11, rng)
    return module, costs.word_inference(functional.split(module)[0], 1)
  shape = (32, 32, 3)
  if name in IMAGE_MODELS:
    module = IMAGE_MODELS[name].smallest().build(shape, 3, rng)
  elif name in CHAIN_SPACES:
    module = ChainNetwork(Config(channels=4, cells=3, auxiliary=False), CHAIN_SPACES[name].sample(rng), shape, 3, rng)
  else:
    module = image_network(SPACES[name].sample(rng), Config(channels=4, cells=3, stem_multiplier=1, auxiliary=False), shape, 3)
  return module, costs.image_inference(functional.split(module)[0], shape, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_that_xla_counts(name):
  module, (run, example) = tiny(name)
  _, variables = functional.split(module)
  jaxpr = jax.make_jaxpr(run)(variables, example)
  found = {repr((eqn.primitive.name, eqn.invars[0].aval, eqn.invars[1].aval, eqn.params)): eqn for eqn in products(jaxpr)}
  assert found and all(counts.of_product(eqn) == by_xla(eqn) for eqn in found.values())
  whole = costs.of_function(run, variables, example)
  assert whole.multiply_adds >= sum(map(counts.of_product, found.values())) > 0 and whole.activation_bytes >= example.size * 4


@pytest.mark.parametrize(("stride", "dilation", "edges"), [(1, 1, 2), (2, 1, 1), (1, 2, 3), (2, 2, 1)])
def test_a_depthwise_convolution_counts_alike_in_both_forms(stride, dilation, edges):
  x, kernel = jnp.zeros((1, 2, 9, 8, 4)), jnp.zeros((edges, 3, 3, 4))
  counted = []
  for form in ("windows", "library"):
    jaxpr = jax.make_jaxpr(lambda x, kernel, form=form: convolution.depthwise(x, kernel, stride=stride, dilation=dilation, form=form))
    counted.append(inference.parts(jaxpr(x, kernel)).multiply_adds)
  assert counted[0] == counted[1] == 9 * edges * 2 * math.ceil(9 / stride) * math.ceil(8 / stride) * 4


def memory(function, *args, activations):
  return inference.activation_bytes(jax.make_jaxpr(function)(*args), activations)


def test_memory_of_activations():
  x, w = jnp.zeros(100), jnp.zeros((100, 50))
  assert memory(lambda x: jnp.exp(x) + 1, x, activations=[0]) == 400  # in place
  assert memory(lambda x: jnp.exp(x) + x, x, activations=[0]) == 800  # x is used again
  assert memory(lambda w, x: x @ w, w, x, activations=[1]) == 400 + 200  # weights are not counted
  assert memory(lambda x: x.reshape(10, 10).T[:2], x, activations=[0]) == 400  # views
  assert memory(lambda x: jax.jit(jnp.exp)(x).sum(), x, activations=[0]) == 404  # within a function, and the sum beside its argument
  assert memory(lambda x: jnp.concatenate([jnp.exp(x), x]), x, activations=[0]) == 400 + 400 + 800


def test_what_a_scatter_or_a_reduction_computes_with_is_no_loop():
  x = jnp.zeros(100)
  assert memory(lambda x: jax.ops.segment_sum(x, jnp.arange(100) % 7, 1000), x, activations=[0]) >= 4000
  assert memory(lambda x: jax.lax.reduce_window(x, 1.0, lambda a, b: a * b + a, (2,), (1,), "SAME"), x, activations=[0]) >= 800


def test_a_loop_counts_its_turns_and_a_condition_its_most_expensive_branch():
  w = jnp.zeros((4, 4))

  def looped(x):
    x = jax.lax.fori_loop(0, 3, lambda _, x: x @ w, x)
    return jax.lax.cond(x.sum() > 0, lambda x: x @ w @ w, lambda x: x, x)

  assert inference.parts(jax.make_jaxpr(looped)(jnp.zeros((2, 4)))).multiply_adds == (3 + 2) * 2 * 4 * 4


def test_layers_of_a_network_of_ones_own():
  class Own(nnx.Module):
    def __init__(self, rngs):
      self.first, self.second = nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
      return self.second(self.first(x).mean((1, 2)))

  found = costs.of_own_network(Own(nnx.Rngs(0)), jnp.zeros((5, 4, 4, 3)))
  assert (found.weights, found.multiply_adds) == (9 * 3 * 8 + 8 + 18, 9 * 3 * 8 * 16 + 16)


def test_the_batch_of_a_network_of_ones_own_may_be_fixed():
  class Pairs(nnx.Module):
    def __init__(self, rngs):
      self.linear = nnx.Linear(10, 3, rngs=rngs)

    def __call__(self, x):
      return self.linear(x.reshape(4, 2, 5).reshape(4, 10))

  assert costs.of_own_network(Pairs(nnx.Rngs(0)), jnp.zeros((8, 5))).multiply_adds == 4 * 10 * 3 / 8


def test_a_module_that_returns_other_things_than_arrays_is_no_part_of_its_own():
  class Named(nnx.Module):
    def __call__(self, x):
      return x @ jnp.ones((4, 4)), "text"

  class Around(nnx.Module):
    auxiliary = None

    def __init__(self):
      self.named = Named()

    def __call__(self, x, train):
      return self.named(x)[0], None

  assert costs.image_layers(Around(), (2, 4, 4), 3) == []


def test_costs_in_words():
  assert str(Costs(3_349_342, 528_359_040, 2_064_384)) == "3,349,342 weights, 528.4 M multiply-adds, 2.064 MB of activations"
  assert [counted_adds(number) for number in (0, 999, 1500, 2e9)] == [
    "0 multiply-adds", "999 multiply-adds", "1.5 k multiply-adds", "2 G multiply-adds",
  ]  # fmt: skip
