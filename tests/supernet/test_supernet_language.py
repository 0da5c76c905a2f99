"""The recurrent supernet: its size, its agreement with derived models, and hypergradients through its dropout.

A cell without ReLU stands for the strict comparison of hypergradients: a second derivative leaves out what the gradient jumps by at a
kink, a difference of gradients counts every jump between its two points.

Axes: T time, B batch, H units, V words.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bits, flat, quick_jit

from dnas.cells import functional
from dnas.cells.darts_recurrent import SPACE
from dnas.cells.functional import Variables
from dnas.cells.language_model import Config, LanguageModel
from dnas.cells.registries import LANGUAGE_GENOTYPES
from dnas.core import tree
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE
from dnas.data import text
from dnas.data.windows import Window
from dnas.nets.derived_language import derived_language_model
from dnas.nets.edges import DiscreteActivations
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.supernet import bilevel, relaxations
from dnas.supernet.bilevel import LossInputs
from dnas.supernet.discretize import discretize, one_hot
from dnas.supernet.edges import MixedActivations
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.supernet.hypergradients.implicit import ImplicitConjugateGradient, ImplicitNeumann
from dnas.supernet.hypergradients.unrolled import Unrolled
from dnas.supernet.language_supernet import language_supernet
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers
from dnas.train.language import language_loss

T, B, H, V = 5, 4, 8, 12
CONFIG = Config(units=H)  # the published rates of dropout
SMALL = dataclasses.replace(SPACE, num_nodes=4)  # compilation is what takes time here
SMOOTH = dataclasses.replace(SPACE, num_nodes=3, operations=(NONE, "tanh", "sigmoid", "identity"))
KEY = jax.random.key(0)
RATE, CLIP, DECAY = 20.0, 0.25, 5e-7


def window_of(seed, length=T):
  words = np.random.default_rng(seed).integers(0, V, (T + 1, B)).astype(np.int32)
  return Window(words[:-1], words[1:], np.int32(length), np.bool_(False))


def hidden_of(seed):
  return np.random.default_rng(seed).normal(0, 0.5, (B, H)).astype(np.float32)


# Sizes.


def size_of(module):
  return tree.size(functional.split(module)[1].weights)


def test_published_size():
  assert size_of(language_supernet(Config(), SPACE, 10_000, np.random.default_rng(0))) == 4_810_000
  assert {cell: arch.shape for cell, arch in relaxations.Relaxation().init(SPACE, KEY, 1e-3).items()} == {"recurrent": (36, 5)}


@pytest.mark.parametrize(
  "name, units, words, size",
  [
    ("DARTS_V1", 850, 10_000, 22_960_000),
    ("DARTS_V2", 850, 10_000, 22_960_000),
    ("DARTS_V2", 700, 33_278, 33_127_878),
    ("NAONet", 850, 10_000, 27_295_000),
  ],
)
def test_published_sizes_of_derived_models(name, units, words, size, monkeypatch):
  """The sizes follow from shapes, so that no number needs to be drawn."""
  rng = np.random.default_rng(0)
  monkeypatch.setattr("dnas.cells.darts_recurrent.jnp.asarray", lambda values, dtype: values)
  assert size_of(derived_language_model(Config(units=units), LANGUAGE_GENOTYPES[name], words, rng)) == size


# A supernet whose mixture is one-hot computes what the derived model computes with the same weights.


def model_of(edges, norm):
  return LanguageModel(CONFIG, edges, SMALL.num_nodes, SMALL.concat, V, norm, np.random.default_rng(0))


@functools.partial(quick_jit, static_argnums=0)
def loss_and_gradient(network, weights, mixture):
  def loss(weights):
    value, penalty, hidden = language_loss(network, Variables(weights, {}), window_of(1), hidden_of(1), mixture, KEY)
    return value + penalty, hidden

  return jax.value_and_grad(loss, has_aux=True)(weights)


def genotype_of(*edges):
  return Genotype(SMALL.name, (("recurrent", CellGenotype(tuple((Edge(*edge),) for edge in edges), SMALL.concat[: len(edges)])),))


FOUR = genotype_of(("sigmoid", 0), ("relu", 1), ("identity", 1), ("tanh", 2))


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
def test_one_hot_supernet_is_the_derived_model(norm):
  network, variables = functional.split(model_of(MixedActivations(SMALL), norm))
  weights = jax.tree.map(lambda leaf: 10 * np.asarray(leaf), variables.weights)  # so that activations bend
  derived, _ = functional.split(model_of(DiscreteActivations(FOUR["recurrent"]), norm))
  mixed = loss_and_gradient(network, weights, one_hot(SMALL, FOUR)["recurrent"])
  discrete = loss_and_gradient(derived, weights, None)
  (_, hidden), gradient = mixed
  assert jax.tree.structure(mixed) == jax.tree.structure(discrete)
  assert np.abs(np.asarray(hidden)).max() > 0.1 and all(np.asarray(weight).any() for weight in gradient["cell"]["nodes"])
  for one, two in zip(jax.tree.leaves(mixed), jax.tree.leaves(discrete), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * float(tree.norm(gradient)))


def test_the_retrained_cell_is_not_normalized_and_the_searched_one_is():
  searched = language_supernet(CONFIG, SPACE, V, np.random.default_rng(0)).cell
  retrained = derived_language_model(CONFIG, LANGUAGE_GENOTYPES["ENAS"], V, np.random.default_rng(0)).cell
  assert searched.wiring.norm and not retrained.wiring.norm
  assert searched.nodes.shape == (8, H, 2 * H) and retrained.nodes.shape == (11, H, 2 * H)


# From mixtures to genotypes.


def test_a_node_keeps_its_strongest_predecessor_and_the_strongest_activation_that_is_not_none():
  mixture = np.full((36, 5), 0.1, np.float32)
  rows = {edge: row for row, edge in enumerate(SPACE.edges)}
  mixture[rows[0, 1]] = [0.9, 0.01, 0.02, 0.04, 0.03]  # none never wins, and the one edge stays
  mixture[rows[0, 2]] = [0.1, 0.3, 0.3, 0.2, 0.1]
  mixture[rows[1, 2]] = [0.5, 0.0, 0.0, 0.1, 0.4]  # the strongest single activation
  mixture[rows[5, 8]] = [0.4, 0.4, 0.1, 0.05, 0.05]
  mixture[rows[2, 8]] = [0.98, 0.0, 0.0, 0.02, 0.0]
  genotype = discretize(SPACE, {"recurrent": mixture})
  names = [(operation, source) for ((operation, source),) in genotype["recurrent"].nodes]
  assert names[:2] == [("sigmoid", 0), ("identity", 1)] and names[2:7] == [("tanh", 0)] * 5 and names[7] == ("tanh", 5)
  assert genotype["recurrent"].concat == (1, 2, 3, 4, 5, 6, 7, 8) and SPACE.validate(genotype) is genotype


@pytest.mark.parametrize("seed", range(5))
def test_one_hot_and_discretize_are_inverse(seed):
  genotype = SPACE.validate(SPACE.sample(np.random.default_rng(seed)))
  mixture = one_hot(SPACE, genotype)
  assert discretize(SPACE, mixture) == genotype
  weights = mixture["recurrent"]
  assert weights.shape == (36, 5) and (weights.sum(1) == 1).all() and (weights[:, 0] == 0).sum() == 8
  assert all(len(node) == 1 and node[0].source <= index for index, node in enumerate(genotype["recurrent"].nodes))


def test_samples_are_of_all_the_space():
  rng = np.random.default_rng(0)
  cells = [SPACE.sample(rng)["recurrent"] for _ in range(300)]
  edges = {(index + 1, *edge) for cell in cells for index, node in enumerate(cell.nodes) for edge in node}
  assert edges == {(node, name, source) for node in range(1, 9) for source in range(node) for name in SPACE.operations if name != NONE}


def test_a_cell_with_an_edge_from_its_own_node_is_refused():
  with pytest.raises(InputError, match="node 1 has an edge from node 1, which makes a cycle; sources are 0 to 0"):
    SPACE.validate(genotype_of(("tanh", 1)))


# Bilevel steps.

_SGD = optimizers.sgd(momentum=0.0, weight_decay=DECAY, gradient_clip=CLIP)
SGD = optax.GradientTransformation(lambda p: optimizers.with_learning_rate(_SGD.init(p), RATE), _SGD.update)
ADAM = optimizers.adam(3e-3, beta1=0.9, beta2=0.999, weight_decay=1e-3)


class Rig:
  """A supernet of 8 units with its compiled programs; its architecture is far from even, as in the midst of a search."""

  def __init__(self, space, dtype=np.float32):
    self.network, variables = functional.split(language_supernet(CONFIG, space, V, np.random.default_rng(0)))
    self.programs = bilevel.compiled(self.loss)
    rng = np.random.default_rng(1)
    arch = {"recurrent": rng.normal(size=space.arch_shape())}
    weights = jax.tree.map(lambda leaf: 5 * leaf, variables.weights)
    weights, stats, arch = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (weights, variables.stats, arch))
    self.state = bilevel.SearchState(weights, stats, arch, SGD.init(weights), ADAM.init(arch))
    self.train = (window_of(1), hidden_of(1).astype(dtype), np.array(1, dtype))
    self.valid = (window_of(2, T - 1), hidden_of(2).astype(dtype), np.array(0, dtype))

  def loss(self, weights, arch, stats, inputs, key):
    window, hidden, penalized = inputs.batch
    mixture = relaxations.Relaxation()(arch, key, jnp.float32(0))["recurrent"]
    loss, penalty, hidden = language_loss(self.network, Variables(weights, stats), window, hidden, mixture, key)
    return loss + penalized * penalty, (stats, {"hidden": hidden})

  def problem(self, key):
    state, programs = self.state, self.programs
    return bilevel.Problem(
      train=lambda weights, arch: programs.gradient(weights, arch, state.stats, LossInputs(self.train), key).gradients,
      valid=lambda weights, arch: programs.gradient(weights, arch, state.stats, LossInputs(self.valid), key).gradients,
      train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, state.stats, LossInputs(self.train), key, direction),
      optimizer=SGD,
      weight_decay=DECAY,
    )

  def parts(self, hypergradient, key):
    """A hypergradient through one step of the weights, and that of its two parts which comes from the training of the weights."""
    state, problem = self.state, self.problem(key)
    estimate = hypergradient(problem, state.weights, state.arch, state.weight_state)
    ahead, _ = optimizer_step(SGD, problem.train(state.weights, state.arch).weights, state.weight_state, state.weights)
    return estimate.arch, tree.add_scaled(estimate.arch, -1.0, problem.valid(ahead, state.arch).arch)


@pytest.fixture(scope="module")
def smooth():
  return Rig(SMOOTH)


KEYS = [jax.random.key(seed) for seed in range(3)]


@pytest.mark.parametrize("key", KEYS, ids=range(3))
def test_finite_difference_with_shared_masks_agrees_with_unrolled(smooth, key):
  (exact, implicit), (difference, implicit_difference) = (smooth.parts(kind, key) for kind in (Unrolled(1), FiniteDifference()))
  assert tree.cosine(difference, exact) > 0.99 and tree.cosine(implicit_difference, implicit) > 0.99
  assert float(tree.norm(implicit_difference)) == pytest.approx(float(tree.norm(implicit)), rel=0.1)
  assert tree.norm(implicit) > 0.1 * tree.norm(exact)
  state = smooth.state
  first_order = FirstOrder()(smooth.problem(key), state.weights, state.arch, state.weight_state).arch
  assert tree.cosine(first_order, exact) < 0.9


def test_fresh_masks_drown_the_difference(smooth):
  """As in the published code: with other masks at each of its two points, the difference is mostly that of the masks over the radius."""
  ratios = []
  for key in KEYS:
    _, implicit = smooth.parts(Unrolled(1), key)
    problem, keys = smooth.problem(key), iter(jax.random.split(key, 4))
    fresh = dataclasses.replace(problem, train=lambda *at, keys=keys: smooth.problem(next(keys)).train(*at))
    state = smooth.state
    estimate = FiniteDifference()(fresh, state.weights, state.arch, state.weight_state)
    ratios.append(float(tree.norm(estimate.arch) / tree.norm(implicit)))
  assert min(ratios) > 3


def test_finite_difference_on_all_activations_in_float64(x64):
  """ReLU has its kinks; with a small radius none is between the two points."""
  rig = Rig(dataclasses.replace(SPACE, num_nodes=3), np.float64)
  (exact, implicit), (difference, implicit_difference) = (rig.parts(kind, KEY) for kind in (Unrolled(1), FiniteDifference(1e-6)))
  np.testing.assert_allclose(difference["recurrent"], exact["recurrent"], rtol=1e-4, atol=1e-6 * float(tree.norm(exact)))
  assert tree.cosine(implicit_difference, implicit) > 0.999999 and tree.norm(implicit) > 0.1 * tree.norm(exact)
  assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves((rig.state.weights, exact, difference)))


@pytest.mark.parametrize("name", list(HYPERGRADIENTS))
def test_every_estimator_runs_and_moves_neither_weights_nor_statistics(smooth, name):
  state, problem = smooth.state, smooth.problem(KEY)
  before = bits(state)
  hypergradient = HYPERGRADIENTS[name]()
  once, again = (hypergradient(problem, state.weights, state.arch, state.weight_state) for _ in range(2))
  assert bits(state) == before and bits(once) == bits(again)
  assert once.arch["recurrent"].shape == SMOOTH.arch_shape() and np.isfinite(flat(once)).all() and flat(once.arch).any()


@pytest.mark.parametrize("hypergradient", [FirstOrder(), FiniteDifference(), Unrolled(1)], ids=["first", "difference", "unrolled"])
def test_hidden_states_are_those_of_the_weight_step(smooth, hypergradient):
  state = smooth.state
  after, outputs = step(smooth, hypergradient, smooth.programs, KEY)
  evaluation = smooth.programs.gradient(state.weights, after.arch, state.stats, LossInputs(smooth.train), KEY)
  assert bits(outputs["hidden"]) == bits(evaluation.metrics["hidden"])
  assert outputs["valid_hidden"].shape == (B, H) and bits(outputs["valid_hidden"]) != bits(outputs["hidden"])


# Which masks: all randomness of a pass comes from its key, so the keys tell.


def step(rig, hypergradient, programs, key, **fields):
  method = bilevel.Method(relaxations.Relaxation(), ADAM, hypergradient)
  problem = bilevel.BilevelProblem(programs, method, SGD, DECAY, **fields)
  return problem.step(rig.state, rig.train, rig.valid, key)


def recording(programs):
  """The same programs, and a list that gathers the data of the keys with which they are called."""
  keys = []

  def recorded(program):
    def call(weights, arch, stats, batch, key, *direction):
      keys.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
      return program(weights, arch, stats, batch, key, *direction)

    return call

  return bilevel.Programs(*map(recorded, (programs.gradient, programs.arch_gradient, programs.hvp))), keys


ESTIMATORS = {
  FirstOrder(): 1,
  FiniteDifference(): 4,
  Unrolled(2): 5,
  ImplicitConjugateGradient(iterations=2): 4,
  ImplicitNeumann(terms=2): 3,
}


@pytest.mark.parametrize("hypergradient, evaluations", ESTIMATORS.items(), ids=[type(one).__name__ for one in ESTIMATORS])
def test_masks_are_shared_over_the_terms_of_a_hypergradient(smooth, hypergradient, evaluations):
  key_data = tuple(np.asarray(jax.random.key_data(KEY)).tolist())
  programs, keys = recording(smooth.programs)
  step(smooth, hypergradient, programs, KEY)
  assert keys == [key_data] * (evaluations + 1)  # the last is that of the weight step

  programs, keys = recording(smooth.programs)
  step(smooth, hypergradient, programs, KEY, shared_masks=False)
  assert len(set(keys)) == len(keys) == evaluations + 1 and keys[-1] == key_data


def test_a_pass_follows_from_its_key(smooth):
  """The same key, the same masks at other weights: the units that reach the decoder are the same."""

  @quick_jit
  def reached(weights, key):
    variables = Variables({**weights, "embedding": jnp.eye(V, H)}, smooth.state.stats)  # the logits are the outputs
    window, hidden, _ = smooth.train
    mixture = jnp.full(SMOOTH.arch_shape(), 0.25)

    (logits, _, _), _ = functional.apply(smooth.network, variables, window.tokens, hidden, T, mixture, key)
    return logits != 0

  other = jax.tree.map(lambda leaf: 1.1 * leaf, smooth.state.weights)
  one, same, changed = (np.asarray(reached(*at)) for at in ((smooth.state.weights, KEY), (other, KEY), (other, KEYS[1])))
  np.testing.assert_array_equal(one, same)
  assert (one != changed).any()
  assert (one == one[0]).all() and (one[0] != one[0, 0]).any() and one.any()  # the same at all times, another for every sequence


def test_steps_have_other_masks_and_a_repeated_step_the_same(monkeypatch):
  """What the search hands to the bilevel step, which is not run here."""
  dataset = text.from_lines("tiny", "word", lambda split: [" ".join("abcdefghij") for _ in range(12)])
  data = text.Config(batch_size=B, sequence_length=T)
  workload = LanguageWorkload(CONFIG, data, SPACE, dataset, seed=0)
  task = DartsTask(DartsConfig(epochs=2), workload, FirstOrder(), KEY)
  given = []

  def recorded(problem, state, train_batch, valid_batch, key, *rest):
    given.append((tuple(np.asarray(jax.random.key_data(key)).tolist()), problem.shared_masks))
    return state, {"hidden": workload.carry[0], "valid_hidden": workload.carry[1]}

  monkeypatch.setattr(bilevel.BilevelProblem, "step", recorded)
  state = task.init()
  for index in [*range(task.end_of_epoch(2)), 0, 1]:
    task.step(state, index)
  keys = [key for key, _ in given]
  assert len(keys) > 6 and len(set(keys)) == len(keys) - 2 and keys[-2:] == keys[:2]
  assert all(shared for _, shared in given)
