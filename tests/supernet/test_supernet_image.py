"""The convolutional supernet: its size, its agreement with derived networks, and bilevel steps on it.

Compilation is what takes time here, so the programs are few, shared by the module, and compiled with few optimizations.

Some supernets are made smooth: softplus for ReLU, and no maximum. A network with kinks has second derivatives that are exact almost
everywhere and leave out what the gradient jumps by at a kink, while a difference of gradients counts every jump between its two points;
there the finite difference and the exact hypergradient agree only when no kink is between.
"""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import bits, flat

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm
from dnas.cells.darts_conv import SPACE
from dnas.cells.functional import Variables
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, CellSpace
from dnas.nets import derived_image
from dnas.supernet import bilevel, relaxations
from dnas.supernet.bilevel import LossInputs
from dnas.supernet.discretize import one_hot
from dnas.supernet.edges import outgoing_rows
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.supernet.hypergradients.unrolled import Unrolled
from dnas.supernet.image_supernet import Config, ImageSupernet
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers
from dnas.train.metrics import correct, cross_entropy

IMAGE, BATCH, CLASSES = 8, 6, 3
ALL = dataclasses.replace(SPACE, num_nodes=2)  # every operation, few edges: 0-2, 1-2; 0-3, 1-3, 2-3
SOME = dataclasses.replace(ALL, operations=(NONE, "avg_pool_3x3", "skip_connect", "dil_conv_3x3"))
pytestmark = pytest.mark.usefixtures("quick_compilation")
KEY = jax.random.key(0)
CLIP, DECAY, MOMENTUM, RATE, ADAPT = 0.5, 3e-4, 0.9, 0.025, 0.1


def host(values):
  """Copies to NumPy: there, arithmetic on many shapes compiles nothing."""
  return jax.tree.map(np.asarray, values)


def batch_of(seed):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(BATCH, IMAGE, IMAGE, 3)), jnp.float32), jnp.asarray(rng.integers(0, CLASSES, BATCH))


@contextlib.contextmanager
def activation(smooth):
  with pytest.MonkeyPatch.context() as patch:
    if smooth:
      patch.setattr(jax.nn, "relu", jax.nn.softplus)
    yield


@dataclasses.dataclass
class Rig:
  """A supernet of 2 channels with its compiled programs; one cell is a reduction cell, three are one normal and two reduction cells."""

  space: CellSpace
  cells: int
  smooth: bool

  def __post_init__(self):
    self.size = dict(channels=2, cells=self.cells, stem_multiplier=1)
    module = ImageSupernet(Config(**self.size), self.space, 3, CLASSES, np.random.default_rng(0))
    self.network, self.variables = functional.split(module)
    self.programs = bilevel.compiled(self.loss)

  def loss(self, weights, arch, stats, inputs, key):
    images, labels = inputs.batch
    mixture = relaxations.Relaxation()(arch, key, jnp.float32(0))
    with activation(self.smooth):
      logits, stats = functional.apply(self.network, Variables(weights, stats), images, mixture, train=True)
    return cross_entropy(logits, labels).mean(), (stats, {"accuracy": correct(logits, labels).mean(), "logits": logits})


@pytest.fixture(scope="module")
def all_operations():
  return Rig(ALL, cells=1, smooth=False)


@pytest.fixture(scope="module")
def some_operations():
  return Rig(SOME, cells=3, smooth=True)


def test_published_size():
  _, variables = functional.split(ImageSupernet(Config(), SPACE, 3, 10, np.random.default_rng(0)))
  assert tree.size(variables.weights) == 1_930_618


def test_bad_sizes_are_refused():
  for field in ("channels", "cells", "stem_multiplier"):
    with pytest.raises(FieldError, match=f"{field} is 0"):
      Config(**{field: 0})


def test_rows_of_a_state():
  assert [list(outgoing_rows(SPACE, source)) for source in range(6)] == [[0, 2, 5, 9], [1, 3, 6, 10], [4, 7, 11], [8, 12], [13], []]


# A supernet whose mixture is one-hot computes what the derived network computes with the same weights.


def dealt_genotypes(space, count):
  """Random genotypes; the operations are dealt like cards, so that each cell type soon holds every one of them."""
  rng = np.random.default_rng(0)
  names = [name for name in space.operations if name != NONE]
  decks = {cell: np.concatenate([rng.permutation(names) for _ in range(2 * count)]).tolist() for cell in space.cells}

  def dealt(cell, nodes):
    return CellGenotype(tuple(tuple(Edge(decks[cell].pop(), source) for _, source in node) for node in nodes), space.concat)

  samples = [space.sample(rng) for _ in range(count)]
  return [Genotype(space.name, tuple((cell, dealt(cell, genotype[cell].nodes)) for cell in space.cells)) for genotype in samples]


def derived_of(rig, genotype):
  """The derived network, with the normalization after poolings that a search has and retraining has not."""
  config = derived_image.Config(**rig.size, auxiliary=False)
  module = derived_image.DerivedImageNetwork(config, genotype, (IMAGE, IMAGE, 3), CLASSES, np.random.default_rng(1))
  for cell in module.stack.cells:
    channels = cell.preprocess1.norm.mean.shape[1]
    for edges in cell.outgoing:
      for stack in edges.operations.values():
        if stack.pools:
          stack.pool_norm = nnx.data(BatchNorm(1, channels, affine=False))
  return module


def chosen(space, variables, module):
  """Picks from a tree of the supernet's variables what a derived network has, in the derived network's structure."""
  cells = {}
  for index, cell in enumerate(module.stack.cells):
    of_cell = variables["stack"]["cells"][index]
    outgoing = {}
    for source, edges in enumerate(cell.outgoing):
      stacks = of_cell["outgoing"].get(source, {})
      targets = [target for origin, target in space.edges if origin == source]
      rows = {name: np.array([targets.index(node) for node in nodes]) for name, nodes in edges.targets}
      outgoing[source] = {"operations": {name: chosen_operation(space, stacks, name, rows[name]) for name in rows}}
    cells[index] = {**of_cell, "outgoing": outgoing}
  return {**variables, "stack": {**variables["stack"], "cells": cells}}


def chosen_operation(space, stacks, name, rows):
  """Picks the variables of one operation on some of its edges."""
  stack = stacks.get("operations", {})
  if name.endswith("_pool_3x3"):
    pool = [other for other in space.operations if other.endswith("_pool_3x3")].index(name)
    return {"pool_norm": jax.tree.map(lambda x: x[pool][None], stacks.get("pools", {}).get("pool_norm", {}))}
  if name == "skip_connect":
    return {"others": {name: jax.tree.map(lambda x: x[rows], stack.get("others", {}).get(name, {}))}}
  layers = {}
  for depth, kinds in enumerate([("sep", "dil"), ("sep",)]):  # separable convolutions have two layers, dilated ones one
    names = [other for other in space.operations if other.startswith(kinds)]
    if name in names:
      layer, column, count = dict(stack["layers"][depth]), names.index(name), len(names)
      depthwise = layer.pop("depthwise", None)
      layers[depth] = jax.tree.map(lambda x, picked=rows * count + column: x[picked], layer)
      if depthwise:
        layers[depth]["depthwise"] = {0: depthwise[column][rows]}
  return {"layers": layers}


def by_path(values):
  return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(values)}


def overlaid(base, leaves):
  """Returns the tree `base` with some of its leaves replaced, and the paths of those that were not."""
  paths = by_path(base)
  assert set(leaves) <= set(paths) and all(paths[path].shape == leaf.shape for path, leaf in leaves.items())
  new = jax.tree_util.tree_map_with_path(lambda path, leaf: leaves.get(jax.tree_util.keystr(path), leaf), base)
  return new, set(paths) - set(leaves)


def derived_gradient(network, smooth, weights, stats, batch):
  def loss(weights):
    with activation(smooth):
      (logits, _), new_stats = functional.apply(network, Variables(weights, stats), batch[0], train=True)
    return cross_entropy(logits, batch[1]).mean(), (new_stats, logits)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)


CASES = [("all_operations", genotype) for genotype in dealt_genotypes(ALL, 2)]
CASES += [("some_operations", genotype) for genotype in dealt_genotypes(SOME, 1)]


@pytest.mark.parametrize("rig, genotype", CASES, ids=["all-1", "all-2", "some"])
def test_one_hot_supernet_is_the_derived_network(rig, genotype, request):
  rig = request.getfixturevalue(rig)
  weights, stats, batch = rig.variables.weights, rig.variables.stats, batch_of(0)
  arch = {cell: jnp.asarray(1e3 * mixture) for cell, mixture in one_hot(rig.space, genotype).items()}  # its softmax is one-hot, exactly
  evaluation = host(rig.programs.gradient(weights, arch, stats, LossInputs(batch), KEY))

  module = derived_of(rig, genotype)
  network, derived = functional.split(module)
  copied, kept = overlaid(derived.weights, by_path(chosen(rig.space, host(weights), module)))
  assert kept and all("cells" in path and path.endswith(("['scale']", "['bias']")) for path in kept)  # ones and zeros, without effect
  (loss, (new_stats, logits)), gradient = derived_gradient(network, rig.smooth, copied, derived.stats, batch)

  np.testing.assert_allclose(logits, evaluation.metrics["logits"], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(loss, evaluation.gradients.loss, rtol=1e-4)
  expected, got = by_path(chosen(rig.space, evaluation.gradients.weights, module)), by_path(gradient)
  size = float(tree.norm(evaluation.gradients.weights))
  for path, leaf in expected.items():  # rounding: compiled with and without optimizations, either of the two moves by 2e-4
    np.testing.assert_allclose(got[path], leaf, rtol=1e-3, atol=5e-4 * size, err_msg=path)
  np.testing.assert_allclose(tree.norm(expected), size, rtol=1e-5)  # the supernet has no gradient where nothing was chosen
  moved, unmoved = overlaid(derived.stats, by_path(chosen(rig.space, evaluation.stats, module)))
  assert not unmoved and size > 0.1
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), new_stats, moved)


def test_the_genotypes_hold_every_operation():
  held = {edge.operation for name, genotype in CASES if name == "all_operations" for node in genotype["reduce"].nodes for edge in node}
  assert held == set(ALL.operations) - {NONE}


# Bilevel steps.

_SGD = optimizers.sgd(momentum=MOMENTUM, weight_decay=DECAY, gradient_clip=CLIP)
SGD = optax.GradientTransformation(lambda p: optimizers.with_learning_rate(_SGD.init(p), RATE), _SGD.update)
ADAM = optimizers.adam(ADAPT, beta1=0.5, beta2=0.999, weight_decay=1e-3)
TRAIN, VALID = 1, 2


def step(rig, state, hypergradient, seed=0):
  method = bilevel.Method(relaxations.Relaxation(), ADAM, hypergradient)
  problem = bilevel.BilevelProblem(rig.programs, method, SGD, DECAY)
  return problem.step(state, batch_of(100 * seed + TRAIN), batch_of(100 * seed + VALID), jax.random.key(seed))


@pytest.fixture(scope="module")
def start(some_operations):
  arch = relaxations.Relaxation().init(SOME, KEY, 0.1)
  weights, stats = some_operations.variables.weights, some_operations.variables.stats
  return bilevel.SearchState(weights, stats, arch, jax.jit(SGD.init)(weights), jax.jit(ADAM.init)(arch))


@pytest.fixture(scope="module")
def later(some_operations, start):
  """The state after a few second-order steps: momentum gathered, architecture and batch statistics moved."""
  state = start
  for seed in range(4):
    state, _ = step(some_operations, state, Unrolled(1), seed)
  return state


@pytest.mark.parametrize("moment", ["start", "later"])
def test_finite_difference_agrees_with_unrolled(some_operations, moment, request):
  state = request.getfixturevalue(moment)
  train_batch, valid_batch, programs = batch_of(TRAIN), batch_of(VALID), some_operations.programs
  problem = bilevel.Problem(
    train=lambda weights, arch: programs.gradient(weights, arch, state.stats, LossInputs(train_batch), KEY).gradients,
    valid=lambda weights, arch: programs.gradient(weights, arch, state.stats, LossInputs(valid_batch), KEY).gradients,
    train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, state.stats, LossInputs(train_batch), KEY, direction),
    optimizer=SGD,
    weight_decay=DECAY,
  )
  at = state.weights, state.arch, state.weight_state
  before = bits(state)
  first_order, difference, exact = (estimator(problem, *at) for estimator in (FirstOrder(), FiniteDifference(), Unrolled(1)))
  assert bits(state) == before
  assert bits(difference.valid_loss) == bits(exact.valid_loss) != bits(first_order.valid_loss)
  assert tree.cosine(difference.arch, exact.arch) > 0.999

  ahead, _ = optimizer_step(SGD, problem.train(state.weights, state.arch).weights, state.weight_state, state.weights)
  explicit = problem.valid(ahead, state.arch).arch
  implicit = [tree.add_scaled(estimate.arch, -1.0, explicit) for estimate in (difference, exact)]
  assert tree.cosine(*implicit) > 0.99 and tree.norm(implicit[1]) > 1e-2 * tree.norm(exact.arch)


def test_a_step_is_the_architecture_and_then_the_weights(some_operations, later):
  """Composed by hand from gradients; the optimizers in NumPy, from the published recipe."""
  gradient = some_operations.programs.gradient
  before = bits(later)
  after, metrics = step(some_operations, later, FirstOrder(), seed=7)
  assert bits(later) == before
  train_batch, valid_batch = batch_of(700 + TRAIN), batch_of(700 + VALID)

  valid = host(gradient(later.weights, later.arch, later.stats, LossInputs(valid_batch), KEY).gradients)
  moments, count, momentum = host(later.arch_state[1]), int(later.arch_state[1].count) + 1, flat(later.weight_state[2].trace)
  assert count == 5
  for cell, a in host(later.arch).items():
    g = valid.arch[cell] + 1e-3 * a
    first = 0.5 * moments.mu[cell] + 0.5 * g
    second = 0.999 * moments.nu[cell] + 0.001 * g**2
    by_hand = a - ADAPT * (first / (1 - 0.5**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
    np.testing.assert_allclose(after.arch[cell], by_hand, rtol=1e-4, atol=1e-5)

  def weights_after(arch):
    evaluation = host(gradient(later.weights, arch, later.stats, LossInputs(train_batch), KEY))
    clip = CLIP / float(tree.norm(evaluation.gradients.weights))
    assert clip < 1

    new_momentum = MOMENTUM * momentum + clip * flat(evaluation.gradients.weights) + DECAY * flat(later.weights)
    return flat(later.weights) - RATE * new_momentum, new_momentum, evaluation

  weights, new_momentum, evaluation = weights_after(after.arch)
  np.testing.assert_allclose(flat(after.weights), weights, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(flat(after.weight_state[2].trace), new_momentum, rtol=1e-3, atol=1e-5)
  assert np.linalg.norm(momentum) > 0.1 and after.arch_state[1].count == 5
  assert bits(after.stats) == bits(evaluation.stats) != bits(later.stats)
  assert bits(metrics["loss"]) == bits(evaluation.gradients.loss) and bits(metrics["accuracy"]) == bits(evaluation.metrics["accuracy"])
  assert bits(metrics["valid_loss"]) == bits(valid.loss)

  wrong, _, _ = weights_after(later.arch)  # the weights first, with the old architecture
  assert np.linalg.norm(wrong - weights) > 1e-4


@pytest.mark.parametrize("hypergradient", [FirstOrder(), FiniteDifference(), Unrolled(1)], ids=["first", "difference", "unrolled"])
def test_batch_statistics_move_once_and_in_the_weight_step(some_operations, later, hypergradient):
  after, _ = step(some_operations, later, hypergradient, seed=8)
  evaluation = some_operations.programs.gradient(later.weights, after.arch, later.stats, LossInputs(batch_of(800 + TRAIN)), KEY)
  assert bits(after.stats) == bits(evaluation.stats)


@pytest.mark.parametrize("hypergradient", [FirstOrder(), FiniteDifference(), Unrolled(1)], ids=["first", "difference", "unrolled"])
def test_the_second_step_compiles_nothing_and_gives_the_same_bits(some_operations, later, hypergradient, caplog):
  programs = some_operations.programs
  once = step(some_operations, later, hypergradient, seed=9)
  sizes = len(programs.gradient.program.chains), len(programs.hvp.chains)
  with jax.log_compiles():
    jax.jit(lambda x: x + 1)(jnp.zeros(3))
    assert any("Compiling" in record.getMessage() for record in caplog.records)  # so the log would show it
    batch_of(0)
    caplog.clear()
    again = step(some_operations, later, hypergradient, seed=9)
    step(some_operations, again[0], hypergradient, seed=9)
  assert [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()] == []
  assert (len(programs.gradient.program.chains), len(programs.hvp.chains)) == sizes == (1, 1)
  assert bits(once) == bits(again)
