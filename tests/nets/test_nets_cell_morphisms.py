"""Morphisms of cells: what an exact rule must leave as it is, in inference and in training, and what an edge inherits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from dnas.cells import functional
from dnas.cells.registries import SPACES
from dnas.core.errors import InputError
from dnas.core.space import NONE
from dnas.nets.derived_image import Config, DerivedImageNetwork
from dnas.nets.morphisms.base import Trained
from dnas.nets.morphisms.cells import CELL_MORPHISMS, Inheritance, is_exact, morphism_of

CONFIG = Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
TYPES = ("normal", "reduce", "reduce")
IMAGES = np.random.default_rng(0).normal(size=(6, 6, 6, 2))


def built(genotype, seed=0):
  return functional.split(DerivedImageNetwork(CONFIG, genotype, (6, 6, 2), 3, np.random.default_rng(seed)))


def trained(genotype, seed):
  network, fresh = built(genotype)
  rng = np.random.default_rng(seed)

  def draw(path, x):
    drawn = rng.uniform(0.5, 2, x.shape) if path[-1].key == "variance" else np.asarray(x) + 0.3 * rng.normal(size=x.shape)
    return jnp.asarray(drawn, x.dtype)

  return network, jax.tree_util.tree_map_with_path(draw, fresh)


def logits(network, variables):
  """The logits in inference and in training."""

  def both(variables, images):
    return [functional.apply(network, variables, images, train=train)[0][0] for train in (False, True)]

  return quick_jit(both)(variables, IMAGES)


def check_preserved(before, after, tolerance):
  for old, new in zip(logits(*before), logits(*after), strict=True):
    assert jnp.abs(new - old).max() <= tolerance * jnp.abs(old).max()


def inherited(start, goal, seed=0, momentum=None):
  space = SPACES[start.space]
  network, variables = trained(start, seed)
  _, fresh = built(goal, seed=1)
  found = Inheritance(start, goal, space.num_inputs, TYPES if len(space.cells) > 1 else ())(Trained(variables, momentum), fresh)
  shapes = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert shapes(found.trained.variables) == shapes(fresh)
  assert momentum is None or shapes(found.trained.momentum) == shapes(fresh.weights)
  return (network, variables, fresh), found


def changed(genotype, old, new):
  """The genotype with every edge of one operation replaced, in the given form of its space."""
  return SPACES[genotype.space].parse(genotype.to_json().replace(f'"{old}"', f'"{new}"'))


DARTS, RESIDUAL, BENCH = SPACES["darts_conv"], SPACES["residual_conv"], SPACES["nasbench201"]
CELL = BENCH.parse("|nor_conv_1x1~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
SMALL = "Genotype(normal=[('{0}', 0), ('{1}', 1)], normal_concat=[2], reduce=[('{1}', 0), ('{0}', 1)], reduce_concat=[2])"
SEPARABLE = DARTS.parse(SMALL.format("sep_conv_3x3", "dil_conv_3x3"))
SKIPS = RESIDUAL.parse(SMALL.format("skip_connect", "residual_sep_conv_3x3"))
EXACT = {
  "grown in nasbench201": (CELL, changed(CELL, "nor_conv_1x1", "nor_conv_3x3"), "cell_kernel_growth"),
  "a branch in nasbench201": (CELL, changed(CELL, NONE, "nor_conv_3x3"), "cell_branch"),
  "grown in darts_conv": (SEPARABLE, changed(SEPARABLE, "sep_conv_3x3", "sep_conv_5x5"), "cell_kernel_growth"),
  "dilated in darts_conv": (SEPARABLE, changed(SEPARABLE, "dil_conv_3x3", "dil_conv_5x5"), "cell_kernel_growth"),
  "from a skip": (SKIPS, changed(SKIPS, "skip_connect", "residual_sep_conv_3x3"), "cell_operation_swap"),
  "grown beside a skip": (SKIPS, changed(SKIPS, "residual_sep_conv_3x3", "residual_sep_conv_5x5"), "cell_kernel_growth"),
}


@pytest.mark.parametrize(("name", "bits"), [*((name, 64) for name in EXACT), ("a branch in nasbench201", 32), ("from a skip", 32)])
def test_an_exact_morphism_of_cells_preserves_the_function(name, bits):
  start, goal, kind = EXACT[name]
  assert start != goal and CELL_MORPHISMS[kind].exact
  with jax.enable_x64(bits == 64):
    (before, variables, _), found = inherited(start, goal)
    assert found.exact
    check_preserved((before, variables), (built(goal)[0], found.trained.variables), 1e-12 if bits == 64 else 1e-5)


@pytest.mark.parametrize("start", [CELL, SKIPS], ids=lambda start: start.space)
def test_exact_morphisms_of_cells_in_turn(x64, start):
  rng, genotype, space = np.random.default_rng(0), start, SPACES[start.space]
  before, variables = trained(genotype, 0)
  arrays, steps = Trained(variables, None), 0
  for _ in range(10):
    exact = [other for other in space.neighbours(genotype) if is_exact(genotype, other, space.num_inputs)]
    if not exact:
      break
    goal = exact[rng.integers(len(exact))]
    network, fresh = built(goal)
    arrays = Inheritance(genotype, goal, space.num_inputs, TYPES if len(space.cells) > 1 else ())(arrays, fresh).trained
    genotype, steps = goal, steps + 1
  assert steps >= 4
  check_preserved((before, variables), (network, arrays.variables), 1e-12)


def test_other_edges_are_inherited_and_a_replaced_one_is_new():
  goal = changed(CELL, "avg_pool_3x3", "nor_conv_3x3")
  ones = jax.tree.map(jnp.ones_like, trained(CELL, 0)[1].weights)
  (_, variables, fresh), found = inherited(CELL, goal, momentum=ones)
  assert not found.exact and not is_exact(CELL, goal, 1)
  own, old, new = (one["stack"]["stages"][1][0]["outgoing"] for one in (found.trained.variables.weights, variables.weights, fresh.weights))
  kept, added = ("nor_conv_1x1", "nor_conv_3x3")
  for source in (0, 2):
    arrays = [one[source]["operations"][kept]["others"][kept]["kernel"] for one in (own, old)]
    assert (arrays[0] == arrays[1]).all()
  arrays = [one[0]["operations"][added]["others"][added]["kernel"] for one in (own, new)]
  assert (arrays[0] == arrays[1]).all()
  momentum = found.trained.momentum["stack"]["stages"][1][0]["outgoing"][0]["operations"]
  assert (momentum[kept]["others"][kept]["kernel"] == 1).all() and not momentum[added]["others"][added]["kernel"].any()
  assert (found.trained.variables.weights["classifier"]["kernel"] == variables.weights["classifier"]["kernel"]).all()


def test_edges_of_a_stack_inherit_one_by_one():
  start = BENCH.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
  goal = BENCH.parse("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|")
  (_, variables, fresh), found = inherited(start, goal)
  own, old, new = (
    one["stack"]["stages"][0][0]["outgoing"][0]["operations"]["nor_conv_3x3"]["others"]["nor_conv_3x3"]["kernel"]
    for one in (found.trained.variables.weights, variables.weights, fresh.weights)
  )
  assert (own[0] == old[1]).all() and (own[1] == new[1]).all() and not found.exact


def test_which_morphism_an_edge_needs():
  assert morphism_of("skip_connect", "sep_conv_3x3") == morphism_of("sep_conv_5x5", "sep_conv_3x3") == "cell_replacement"
  assert morphism_of(NONE, "skip_connect") == morphism_of("dil_conv_3x3", "sep_conv_5x5") == "cell_replacement"
  assert morphism_of("max_pool_3x3", "max_pool_3x3") == "unchanged" and morphism_of(NONE, "dil_conv_5x5") == "cell_branch"


def test_a_removed_edge_is_not_exact():
  start = DARTS.sample(np.random.default_rng(0))
  goal = DARTS.neighbours(start)
  sources = [{edge.source for edge in other["normal"].nodes[1]} for other in (start, *goal)]
  moved = next(other for other, read in zip(goal, sources[1:], strict=True) if read != sources[0])
  assert not is_exact(start, moved, 2)


def test_the_types_of_cells_must_be_known():
  with pytest.raises(InputError, match="its stack does not tell which cell has which; give its stack the attribute 'cell_types'"):
    Inheritance(SEPARABLE, SEPARABLE, 2, ())
