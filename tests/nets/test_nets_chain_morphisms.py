"""Morphisms of chains of convolutions: what an exact one must leave as it is, what momentum follows, and where approximate ones lead.

The batch of the moments is also the one on which training mode is compared: an inserted normalization is matched to its statistics.
"""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.cells import functional
from dnas.core.chain_space import ChainSpace, Edit, layers_of
from dnas.core.errors import FieldError
from dnas.nets.conv_chain import ChainNetwork
from dnas.nets.derived_image import Config
from dnas.nets.morphisms import chain_network
from dnas.nets.morphisms.base import Trained
from dnas.nets.morphisms.chain import MORPHISMS
from dnas.nets.morphisms.chain_path import path
from dnas.train.metrics import cross_entropy

SPACE = ChainSpace("conv_chain", kernels=(1, 3), widths=(1, 2), num_poolings=1, sampled_convolutions=2)
CONFIG = Config(channels=2, auxiliary=False)
EXACT = tuple(name for name in MORPHISMS if MORPHISMS[name].exact)
APPROXIMATE = tuple(name for name in MORPHISMS if name not in EXACT)
LABELS = jnp.arange(6) % 3
START = SPACE.parse("|sep_conv_1x1_x1|conv_3x3_x1|max_pool_2x2|conv_1x1_x1|sep_conv_3x3_x2|")


def images(seed=0):
  drawn = np.random.default_rng(seed).normal(size=(6, 4, 4, 2))
  return jnp.asarray(drawn)


def built(genotype):
  return functional.split(ChainNetwork(CONFIG, genotype, (4, 4, 2), 3, np.random.default_rng(0)))


def trained(genotype, seed):
  """A network whose arrays are all drawn, as if it had been trained."""
  network, fresh = built(genotype)
  rng = np.random.default_rng(seed)

  def draw(path, x):
    drawn = rng.uniform(0.5, 2, x.shape) if path[-1].key == "variance" else np.asarray(x) + 0.3 * rng.normal(size=x.shape)
    return jnp.asarray(drawn, x.dtype)

  variables = jax.tree_util.tree_map_with_path(draw, fresh)
  return network, variables


@functools.partial(quick_jit, static_argnums=(0, 2))
def apply(network, variables, train, x):
  return functional.apply(network, variables, x, train=train)[0][0]


def logits(network, variables, train, x=None):
  return apply(network, variables, train, images() if x is None else x)


@functools.partial(quick_jit, static_argnums=0)
def gradient(network, variables):
  def loss(weights):
    (found, _), _ = functional.apply(network, functional.Variables(weights, variables.stats), images(), train=False)
    return cross_entropy(found, LABELS).mean()

  return jax.grad(loss)(variables.weights)


def inherited(start, goal, seed=0, noise=0.0, momentum=None):
  network, variables = trained(start, seed)
  chain = chain_network.to_chain(start, network, Trained(variables, momentum), images(), CONFIG.channels)
  return (network, variables), chain_network.inherited(SPACE, start, goal, chain, seed, noise)


def check_preserved(start, goal, seed, tolerance):
  (before, variables), found = inherited(start, goal, seed)
  assert found.exact
  network, fresh = built(goal)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), found.trained.variables) == jax.tree.map(lambda x: (x.shape, x.dtype), fresh)
  for train in (False, True):
    old, new = logits(before, variables, train), logits(network, found.trained.variables, train)
    assert jnp.abs(new - old).max() <= tolerance * jnp.abs(old).max(), f"train={train}"


def drawn_edit(genotype, kind, rng):
  edits = [edit for edit in SPACE.edits(genotype) if edit.kind == kind]
  return edits[rng.integers(len(edits))] if edits else None


def edited(genotype, kinds, count, rng):
  """The chain after `count` edits of these kinds; each kind is as likely as the others."""
  for _ in range(count):
    edits = [edit for kind in kinds if (edit := drawn_edit(genotype, kind, rng))]
    genotype = SPACE.edited(genotype, edits[rng.integers(len(edits))])
  return genotype


def test_units():
  assert EXACT == ("deeper", "wider", "kernel_growth", "skip", "operation_swap")
  assert APPROXIMATE == ("narrower", "shallower", "kernel_shrinkage", "skip_removal", "cheaper_operation", "other_pooling")
  assert {edit.kind for seed in range(20) for edit in SPACE.edits(SPACE.sample(np.random.default_rng(seed)))} == set(MORPHISMS)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("bits", [32, 64])
def test_an_exact_morphism_alone_preserves_the_function(kind, bits):
  with jax.enable_x64(bits == 64):
    tried = 0
    for seed in range(2):
      rng = np.random.default_rng(seed)
      start = SPACE.sample(rng) if seed else START
      edit = drawn_edit(start, kind, rng)
      if edit:
        check_preserved(start, SPACE.edited(start, edit), seed, 1e-12 if bits == 64 else 1e-5)
        tried += 1
    assert tried


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from((32, 64)))
def test_ten_exact_morphisms_in_turn_preserve_the_function(seed, bits):
  with jax.enable_x64(bits == 64):
    rng = np.random.default_rng(seed)
    start = SPACE.sample(rng)
    check_preserved(start, edited(start, EXACT, 10, rng), seed, 1e-12 if bits == 64 else 1e-5)


def test_on_another_batch_training_mode_differs_by_the_noise_of_batch_statistics(x64):
  goal = SPACE.edited(START, Edit("deeper", 2, ("conv", 3)))
  (before, variables), found = inherited(START, goal)
  network, _ = built(goal)
  large = jnp.concatenate([images(seed) for seed in range(1, 40)])
  of = functools.partial(cross_entropy, labels=jnp.tile(LABELS, 39))
  old, new = (of(logits(*one, True, large)).mean() for one in ((before, variables), (network, found.trained.variables)))
  assert 1e-9 < abs(new - old) < 0.15 * old, "the batch of 6 examples has other moments, which the normalization does not know"
  chain = chain_network.to_chain(START, before, Trained(variables, None), large, CONFIG.channels)
  matched = chain_network.inherited(SPACE, START, goal, chain, 0, 0.0).trained.variables
  assert of(logits(network, matched, True, large)).mean() == pytest.approx(old, rel=1e-12)


@pytest.mark.parametrize(
  "goal",
  [
    "|sep_conv_1x1_x2|conv_3x3_x2|max_pool_2x2|conv_1x1_x1|sep_conv_3x3_x2|",  # poolings tie, and a separable kernel is widened in place
    "|sep_conv_1x1_x2|conv_3x3_x1|max_pool_2x2|conv_1x1_x2|sep_conv_3x3_x2|",
  ],
)
def test_the_momentum_of_copies_is_their_gradient(x64, goal):
  network, variables = trained(START, 3)
  _, found = inherited(START, SPACE.parse(goal), 3, momentum=gradient(network, variables))
  expected = gradient(built(SPACE.parse(goal))[0], found.trained.variables)
  jax.tree.map(lambda own, like: np.testing.assert_allclose(own, like, rtol=1e-9, atol=1e-13), found.trained.momentum, expected)


def test_states_that_a_skip_adds_get_the_same_copies_and_new_weights_have_no_momentum(x64):
  start = SPACE.parse("|conv_3x3_x1|conv_3x3_x1+1|max_pool_2x2|sep_conv_3x3_x1+3|conv_1x1_x1|")
  network, variables = trained(start, 4)
  goal = SPACE.edited(SPACE.edited(start, Edit("wider", 1, 2)), Edit("deeper", 4, ("sep_conv", 3)))
  _, found = inherited(start, goal, 4, momentum=gradient(network, variables))
  check_preserved(start, goal, 4, 1e-12)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(found.trained.momentum["layers"][4]))
  expected = gradient(built(goal)[0], found.trained.variables)
  for number in (0, 1, 3, 5):
    assert number == 5 or jnp.abs(expected["layers"][number]["norm"]["scale"]).max() > 0
    own, like = found.trained.momentum["layers"][number], expected["layers"][number]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13), own, like)


def test_noise_breaks_the_symmetry_of_copies_alone():
  goal = SPACE.edited(START, Edit("wider", 1, 2))
  (_, variables), plain = inherited(START, goal)
  _, noisy = inherited(START, goal, noise=0.1)
  (before, own, other), kept = (one.weights["layers"][0] for one in (variables, plain.trained.variables, noisy.trained.variables)), 2
  assert (own["pointwise"][..., :kept] == before["pointwise"]).all() and (other["pointwise"][..., :kept] == before["pointwise"]).all()
  assert (other["pointwise"][..., kept:] != own["pointwise"][..., kept:]).all()
  assert (other["depthwise"] == own["depthwise"]).all() and (other["norm"]["scale"] == own["norm"]["scale"]).all()
  alike, apart = (gradient(built(goal)[0], one.trained.variables)["layers"][0]["norm"]["scale"][0] for one in (plain, noisy))
  assert len(np.unique(np.round(alike, 7))) <= kept < len(np.unique(np.round(apart, 7)))


def test_approximate_morphisms_reach_every_chain_and_exact_ones_are_found_again():
  rng, kinds = np.random.default_rng(0), collections.Counter()
  for _ in range(30):
    start, goal = SPACE.sample(rng), SPACE.sample(rng)
    steps = path(SPACE, start, goal)
    assert not steps or steps[-1].layers == layers_of(goal)
    kinds.update(step.edit.kind for step in steps)
    grown = edited(start, EXACT, 10, rng)
    assert {step.edit.kind for step in path(SPACE, start, grown)} <= set(EXACT)
  assert set(kinds) == set(MORPHISMS)


@pytest.mark.parametrize("seed", range(3))
def test_approximate_morphisms_give_the_arrays_of_the_network(seed):
  rng = np.random.default_rng(seed)
  start, goal = SPACE.sample(rng), SPACE.sample(rng)
  network, variables = trained(start, seed)
  _, found = inherited(start, goal, seed, momentum=jax.tree.map(jnp.ones_like, variables.weights))
  _, fresh = built(goal)
  shapes = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert shapes(found.trained.variables) == shapes(fresh) and shapes(found.trained.momentum) == shapes(fresh.weights)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
  assert found.exact == ({step.edit.kind for step in path(SPACE, start, goal)} <= set(EXACT))


def test_what_approximate_morphisms_undo_is_undone(x64):
  """A widened layer made narrow again, a convolution that came from a separable one, and an inserted identity left out."""
  wide = SPACE.edited(START, Edit("kernel_growth", 1, 3))
  for kind, there in (("kernel_shrinkage", wide), ("cheaper_operation", SPACE.edited(START, Edit("operation_swap", 1, "conv")))):
    (network, variables), found = inherited(START, there, 5)
    chain = chain_network.to_chain(there, built(there)[0], found.trained, images(), CONFIG.channels)
    back = chain_network.inherited(SPACE, there, START, chain, 0, 0.0)
    assert [step.edit.kind for step in path(SPACE, there, START)] == [kind] and not back.exact
    np.testing.assert_allclose(logits(network, back.trained.variables, False), logits(network, variables, False), rtol=1e-9, atol=1e-12)


def test_narrower_keeps_the_channels_that_contribute_most(x64):
  start, goal = (SPACE.parse(f"|conv_3x3_{width}|max_pool_2x2|conv_1x1_x1|") for width in ("x2", "x1"))
  network, variables = trained(start, 6)
  kernel = variables.weights["layers"][2]["kernel"].at[:, :, jnp.array([0, 2])].multiply(1e-6)
  variables.weights["layers"][2]["kernel"] = kernel
  chain = chain_network.to_chain(start, network, Trained(variables, None), images(), CONFIG.channels)
  found = chain_network.inherited(SPACE, start, goal, chain, 0, 0.0).trained.variables
  assert (found.weights["layers"][0]["kernel"] == variables.weights["layers"][0]["kernel"][..., jnp.array([1, 3])]).all()
  np.testing.assert_allclose(logits(built(goal)[0], found, False), logits(network, variables, False), rtol=1e-4, atol=1e-4)


def test_a_network_of_a_chain_against_its_formula(x64):
  genotype = SPACE.parse("|conv_3x3_x1|sep_conv_3x3_x1+1|max_pool_2x2|conv_1x1_x2|")
  network, variables = trained(genotype, 7)
  layers, stats = variables.weights["layers"], variables.stats["layers"]

  def normalized(number, x):
    norm, own = layers[number]["norm"], stats[number]["norm"]
    centred = (x - own["mean"][:, None, None]) / jnp.sqrt(own["variance"] + 1e-5)[:, None, None]
    return centred * norm["scale"][:, None, None] + norm["bias"][:, None, None]

  numbers = ("NHWC", "HWIO", "NHWC")
  convolve = functools.partial(jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=numbers)
  first = jax.nn.relu(normalized(0, convolve(images(), layers[0]["kernel"])))
  filtered = convolve(first, layers[1]["depthwise"][0][:, :, None], feature_group_count=2) @ layers[1]["pointwise"]
  share = layers[1]["skip_weights"][0]
  second = jax.nn.relu((1 - share) * normalized(1, filtered) + share * first)
  pooled = second.reshape(6, 2, 2, 2, 2, 2).max((2, 4))
  third = jax.nn.relu(normalized(3, pooled @ layers[3]["kernel"][0, 0]))
  expected = third.mean((1, 2)) @ variables.weights["classifier"]["kernel"] + variables.weights["classifier"]["bias"][None]
  np.testing.assert_allclose(logits(network, variables, False), expected, rtol=1e-10)


def test_a_chain_has_no_auxiliary_head():
  with pytest.raises(FieldError, match="network.auxiliary is True; the networks of space 'conv_chain' have no auxiliary head"):
    ChainNetwork(dataclasses.replace(CONFIG, auxiliary=True), START, (4, 4, 2), 3, np.random.default_rng(0))
