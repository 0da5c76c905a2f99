"""bfloat16: which products are computed in it, what stays float32, and that the gradient is that of float32 but for rounding."""

import dataclasses
import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from dnas.cells import functional
from dnas.cells.nasbench201 import from_string
from dnas.cells.precision import PRECISIONS
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.nets import derived_image
from dnas.supernet import image_supernet, language_supernet
from dnas.supernet.edges import EdgeOptions
from dnas.train.metrics import cross_entropy

BATCH, CLASSES, WORDS, UNITS = 4, 3, 11, 8
SMALL = dataclasses.replace(SPACES["darts_conv"], num_nodes=2)


def of_module(module, *inputs, **kwargs):
  """Returns the gradient of a loss as a function of the weights, with logits and statistics beside, and the weights."""
  network, variables = functional.split(module)

  def loss(weights):
    output, stats = functional.apply(network, functional.Variables(weights, variables.stats), *inputs, **kwargs)
    heads = output if isinstance(output, tuple) else (output,)
    heads = [head.reshape(-1, head.shape[-1]) for head in heads if head is not None and head.shape[-1:] in ((CLASSES,), (WORDS,))]
    total = sum(cross_entropy(head, jnp.zeros(len(head), int)).mean() for head in heads)
    return total, (heads, stats)

  return jax.value_and_grad(loss, has_aux=True), variables.weights


def mixture(space):
  rng = np.random.default_rng(1)
  return {cell: rng.dirichlet(np.ones(len(space.operations)), len(space.edges)).astype(np.float32) for cell in space.cells}


def images(size):
  return np.random.default_rng(2).normal(size=(BATCH, size, size, 3)).astype(np.float32)


def supernet(precision, space=SMALL, parts=1, cells=1):
  config = image_supernet.Config(channels=4, cells=cells, stem_multiplier=1, precision=precision)
  module = image_supernet.ImageSupernet(config, space, 3, CLASSES, np.random.default_rng(0), EdgeOptions(parts))
  edges = {f"{cell} edges": np.ones(len(space.edges), np.float32) for cell in space.cells}
  return of_module(module, images(8), mixture(space) | edges, train=True)


def derived(precision, genotype="AmoebaNet_in_DARTS", auxiliary=True):
  config = derived_image.Config(channels=4, cells=3, stem_multiplier=1, auxiliary=auxiliary, precision=precision)
  found = IMAGE_GENOTYPES[genotype] if auxiliary else from_string(genotype)
  size = 32 if auxiliary else 8
  module = derived_image.DerivedImageNetwork(config, found, (size, size, 3), CLASSES, np.random.default_rng(0))
  return of_module(module, images(size), train=True, key=jax.random.key(3), drop_path=jnp.float32(0.2))


def recurrent(precision):
  config, space = language_supernet.Config(units=UNITS, precision=precision), SPACES["darts_recurrent"]
  module = language_supernet.language_supernet(config, space, WORDS, np.random.default_rng(0))
  tokens = np.random.default_rng(2).integers(0, WORDS, (5, BATCH))
  return of_module(module, tokens, jnp.zeros((BATCH, UNITS)), np.int32(5), jnp.asarray(mixture(space)["recurrent"]), jax.random.key(1))


TABLE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
# Name to the network, and how many products are those of classifiers, with their gradients: three each.
NETWORKS = {
  "supernet": (supernet, 3),
  "partial channels": (functools.partial(supernet, parts=2), 3),
  "nasbench201": (functools.partial(supernet, space=SPACES["nasbench201"], cells=3), 3),
  "derived": (derived, 6),
  "derived nasbench201": (functools.partial(derived, genotype=TABLE, auxiliary=False), 3),
  "recurrent": (recurrent, 0),
}


def products(jaxpr):
  """Yields the dtypes of the factors of every product and convolution, those of inner programs too; sums by rows of ones are none."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated") and equation.invars[0].aval.shape[1:2] != (1,):
      yield tuple(variable.aval.dtype for variable in equation.invars)
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from products(inner)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_short_and_what_is_kept_is_not(name):
  build, of_classifiers = NETWORKS[name]
  for precision in PRECISIONS:
    gradient, weights = build(precision)
    traced = jax.jit(gradient).trace(weights)
    found = list(products(traced.jaxpr.jaxpr))
    long = [pair for pair in found if pair != (jnp.bfloat16, jnp.bfloat16)]
    sums = 9 if name == "recurrent" else 0  # the sum of a state's gradients is a product with ones
    assert len(long) <= of_classifiers + sums if precision == "bfloat16" else len(long) == len(found) > 10
    (loss, (logits, stats)), gradients = traced.out_info
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, logits, stats, gradients))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["supernet", "recurrent"])
def test_the_gradient_is_that_of_float32_but_for_rounding(name):
  values = {}
  for precision in PRECISIONS:
    gradient, weights = NETWORKS[name][0](precision)
    (loss, _), gradients = quick_jit(gradient)(weights)
    values[precision] = float(loss), gradients
  (exact, exact_gradient), (rounded, rounded_gradient) = values.values()
  assert rounded == pytest.approx(exact, rel=0.02) and rounded != exact
  assert tree.cosine(exact_gradient, rounded_gradient) > 0.98


def test_an_unknown_precision():
  with pytest.raises(FieldError, match="precision"):
    image_supernet.Config(precision="float16")
