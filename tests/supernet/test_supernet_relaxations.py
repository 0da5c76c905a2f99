"""Restricted mixtures, perturbations and partial channels, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.core.space import CellSpace
from dnas.supernet import relaxations
from dnas.supernet.discretize import edges_of, one_hot
from dnas.supernet.edges import EdgeOptions, EdgeWeights, MixedActivations, MixedEdges
from dnas.supernet.perturbations import Adversarial, UniformNoise, Unperturbed

SPACE = CellSpace("small", ("normal", "reduce"), ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"), num_nodes=2)
KEY = jax.random.key(3)


def test_restriction_gives_the_weight_of_what_is_out_to_the_others():
  mixture = {"normal": jnp.asarray([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0], [0.25] * 4])}
  allowed = {"normal": jnp.asarray([[1.0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]])}
  expected = [[0.125, 0, 0.375, 0.5], [0, 0, 1, 0], [0, 0, 0, 0]]
  np.testing.assert_allclose(relaxations.restrict(mixture, allowed)["normal"], expected, rtol=1e-6)
  same = relaxations.restrict(mixture, {"normal": jnp.ones((3, 4))})["normal"]
  np.testing.assert_allclose(same, mixture["normal"], rtol=1e-6)


# Perturbations.


def test_perturbations_stay_in_their_cube_and_grow():
  arch = {"normal": jnp.zeros((5, 4)), "reduce": jnp.ones((5, 4))}

  def gradient(arch):
    gradient = {name: jnp.where(np.arange(4) % 2, 1.0, -1.0)[None] * jnp.ones_like(value) for name, value in arch.items()}
    return sum((gradient[name] * value).sum() for name, value in arch.items()), gradient

  assert Unperturbed()(arch, KEY, 1.0, gradient) is arch
  for progress in (0.0, 0.5, 1.0):
    noisy = UniformNoise(0.4)(arch, KEY, progress, None)
    away, radius = np.asarray(noisy["normal"]), 0.03 + 0.37 * progress
    assert 0.75 * radius < np.abs(away).max() <= radius + 1e-6
    worst = Adversarial(0.4, steps=3)(arch, KEY, progress, gradient)
    np.testing.assert_allclose(worst["reduce"] - arch["reduce"], np.tile([-1, 1, -1, 1], (5, 1)) * radius, atol=1e-6)


def test_the_adversary_evaluates_once_a_step_and_compares_its_end_with_the_beginning():
  calls = []

  def gradient(arch):
    calls.append(arch)
    return arch["normal"].sum(), jax.tree.map(jnp.ones_like, arch)

  Adversarial(0.1, steps=7)({"normal": jnp.ones((2, 2))}, KEY, 1.0, gradient)
  assert len(calls) == 7 + 2


def test_an_ascent_that_ends_lower_is_given_up():
  arch = {"normal": jnp.ones((2, 2))}
  near = Adversarial(0.1, steps=2)(arch, KEY, 1.0, lambda arch: (-arch["normal"].sum(), jax.tree.map(jnp.ones_like, arch)))
  assert (near["normal"] == arch["normal"]).all()


# Partial channels.


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_pass_by_the_operations_and_are_shuffled(stride):
  rng = np.random.default_rng(0)
  module = MixedEdges(SPACE, 0, 8, stride, rng, EdgeOptions(partial_channels=4))
  graph, variables = functional.split(module)
  x = rng.normal(size=(2, 5, 5, 8)).astype(np.float32)
  mixture, edges = np.zeros((2, 4), np.float32), np.array([0.75, 0.5], np.float32)
  mixture[0, 0], mixture[1, 2] = 0.75, 0.3  # none on the first edge, max pooling on the second, whose skip connection was dropped
  weights = [EdgeWeights(mixture[row : row + 1], edges[row : row + 1]) for row in range(2)]
  out, _ = functional.apply(graph, variables, x, weights, train=True)
  side = 5 if stride == 1 else 3
  padded = np.full((2, 6, 6, 8), -np.inf, np.float32)
  padded[:, :5, :5] = x
  rest = x if stride == 1 else padded.reshape(2, 3, 2, 3, 2, 8).max((2, 4))
  assert {target: value.shape for target, value in out.items()} == {2: (2, side, side, 8), 3: (2, side, side, 8)}
  order = np.array([0, 2, 4, 6, 1, 3, 5, 7])  # groups of two channels, interleaved: channel c of group g stands at 4 c + g
  whole = np.concatenate([np.zeros((2, side, side, 2), np.float32), 0.75 * rest[..., 2:]], -1)
  np.testing.assert_allclose(out[2], whole[..., order], rtol=1e-5)
  np.testing.assert_allclose(np.asarray(out[3])[..., [1, 2, 3, 5, 6, 7]], 0.5 * rest[..., [2, 4, 6, 3, 5, 7]], rtol=1e-5)
  weights = jax.tree.leaves(variables.weights)
  assert {leaf.shape[-1] for leaf in weights if leaf.ndim > 2} <= {1, 2}  # the operations have a quarter of the channels


def test_an_edge_without_an_operation_passes_nothing():
  genotype = SPACE.sample(np.random.default_rng(0))
  chosen = one_hot(SPACE, genotype)
  whole = relaxations.with_edges(SPACE, chosen, edges_of(SPACE, chosen), relaxations.everything(SPACE))
  for cell in SPACE.cells:
    assert (whole[f"{cell} edges"] == 1 - chosen[cell][:, 0]).all() and 0 < whole[f"{cell} edges"].sum() < 5
  allowed = relaxations.everything(SPACE)
  allowed["normal"][1, 1:] = 0
  allowed["normal"][2] = 0
  ruled_out = relaxations.with_edges(SPACE, chosen, {"normal": np.full(5, 0.5)}, allowed)
  assert ruled_out["normal edges"].tolist() == [0.5, 0, 0, 0.5, 0.5]


# The gradient of operations that were not drawn, as the published code of GDAS has it.


def drawn_weights(mixture, options, output):
  """The gradient of the sum of what an edge gives in its weights, for a mixture [1, operations]."""
  rng = np.random.default_rng(0)
  graph, variables = functional.split(MixedEdges(SPACE, 2, 4, 1, rng, options))
  x = rng.normal(size=(2, 4, 4, 4)).astype(np.float32)

  def total(mixture):
    out, _ = functional.apply(graph, variables, x, [EdgeWeights(mixture)], train=True)
    return (out[3] * output).sum()

  return jax.value_and_grad(total)(jnp.asarray(mixture))


def test_ones_for_operations_that_were_not_drawn():
  output = np.random.default_rng(1).normal(size=(2, 4, 4, 4)).astype(np.float32)
  drawn = np.array([[0, 1, 0, 0]], np.float32)
  value, ones = drawn_weights(drawn, EdgeOptions(ones_for_undrawn=True), output)
  same, plain = drawn_weights(drawn, EdgeOptions(), output)
  np.testing.assert_allclose(value, same, rtol=1e-6)
  np.testing.assert_allclose(ones[0], [output.sum(), plain[0, 1], output.sum(), output.sum()], rtol=1e-5)
  soft = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)  # a search is validated with all of them
  values = [drawn_weights(soft, options, output)[0] for options in (EdgeOptions(ones_for_undrawn=True), EdgeOptions())]
  np.testing.assert_allclose(*values, rtol=1e-5)


def test_ones_for_activations_that_were_not_drawn():
  space = CellSpace("rnn", ("recurrent",), ("none", "tanh", "relu"), num_inputs=1, num_nodes=1, edges_per_node=1)
  x = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)

  def total(mixture, options):
    return MixedActivations(space, options)(1, x, mixture)[0].sum()

  drawn = jnp.asarray([[0.0, 1.0, 0.0]])
  (value, ones), (same, plain) = (jax.value_and_grad(total)(drawn, EdgeOptions(ones_for_undrawn=ones)) for ones in (True, False))
  assert value == same
  np.testing.assert_allclose(ones[0], [x.size, plain[0, 1], x.size], rtol=1e-6)
