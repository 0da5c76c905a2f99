"""The hypernetwork: graphs of architectures, generated weights, and evaluation by them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, quick_jit

from dnas.cells import functional, nasbench201
from dnas.cells.darts_conv import SPACE as DARTS
from dnas.cells.nasbench201 import canonical, from_string
from dnas.core.errors import FieldError, InputError
from dnas.core.records import Proposal
from dnas.core.space import NONE
from dnas.data import base, datasets
from dnas.evaluate.architecture_graph import ENCODERS, graph_of, shape_of
from dnas.evaluate.base import TrainedOnce
from dnas.evaluate.hypernetwork import Config, HypernetworkTask
from dnas.nets import derived_image
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot

DATA = base.Config(dataset="digits", train_portion=0.5, batch_size=50, examples=200)
SIZE = image_supernet.Config(channels=2, cells=3, stem_multiplier=1)
SMALL = Config(width=8, passes=2, decoder_width=8, epochs=20, learning_rate=0.01)
SPACE = nasbench201.SPACE.without(["nor_conv_1x1"])
CELL = from_string("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|avg_pool_3x3~2|")
TURNED = from_string("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|avg_pool_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|")
OTHER = from_string("|skip_connect~0|+|none~0|avg_pool_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|none~2|")
NOTHING = from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
FEW_NODES = dataclasses.replace(DARTS, num_nodes=2)


@pytest.fixture(scope="module")
def dataset():
  return datasets.from_config(DATA)


def made(dataset, space=SPACE, size=SIZE, **changes):
  return HypernetworkTask(dataclasses.replace(SMALL, **changes), size, DATA, space, dataset, seed=0)


@pytest.fixture(scope="module")
def trained(dataset):
  task = made(dataset)
  position = loop.restore(task, None)
  first, *_, last = loop.run(task, position)
  assert first["metrics"]["train/loss"] > 2.2 > 2.1 > last["metrics"]["train/loss"] and first["metrics"]["learning_rate"] == 0.01
  return task, position.state.weights


# Graphs.


def test_the_graph_of_a_cell_by_hand():
  graph = graph_of(SPACE, one_hot(SPACE, OTHER))  # edges 01, 02, 12, 03, 13, 23 are nodes 1 to 6; 0 is the input, 7 the output
  assert graph.kinds.shape == shape_of(SPACE) == (1, 8, 6) and graph.links.shape == (1, 8, 8)
  links = {(int(a), int(b)) for a, b in np.argwhere(graph.links[0])}
  assert links == {(0, 1), (1, 5), (0, 4), (4, 7), (5, 7)}, "state 2 leads nowhere, so its edges are no part of the graph"
  assert {int(node): int(kind) for node, kind in np.argwhere(graph.kinds[0])} == {0: 4, 1: 1, 4: 2, 5: 2, 7: 5}


def test_graphs_of_darts_cells_have_only_the_chosen_edges():
  genotype = DARTS.sample(np.random.default_rng(0))
  graph = graph_of(DARTS, one_hot(DARTS, genotype))
  assert graph.kinds.shape == shape_of(DARTS) == (2, 17, 11)
  for number, (_, cell) in enumerate(genotype.cells):
    assert graph.kinds[number, 2:-1].sum() == sum(len(node) for node in cell.nodes) == 8, "every node is in the output, so all are used"
    chosen = {(edge.source, target) for target, node in enumerate(cell.nodes, 2) for edge in node}
    expected = sum(a[1] == b[0] for a in chosen for b in chosen) + len(chosen) + sum(source < 2 for source, _ in chosen)
    assert graph.links[number].sum() == expected


def test_the_states_of_a_graph_do_not_depend_on_the_order_of_its_nodes():
  assert canonical(CELL) == canonical(TURNED)
  encoder = ENCODERS["graph"](SPACE, 8, 3, np.random.default_rng(0))
  states, turned = (np.asarray(encoder(graph_of(SPACE, one_hot(SPACE, cell))))[0] for cell in (CELL, TURNED))
  order = [0, 2, 1, 3, 4, 6, 5, 7]  # nodes 1 and 2 of the cell change places
  np.testing.assert_allclose(turned[order], states, rtol=1e-5, atol=1e-6)
  assert np.abs(states[5] - states[6]).max() > 1e-3 and np.abs(states[1]).max() > 1e-3


def test_messages_go_both_ways():
  encoder, chain = ENCODERS["graph"](SPACE, 8, 1, np.random.default_rng(0)), "|nor_conv_3x3~0|+|none~0|{}~1|+|none~0|none~1|avg_pool_3x3~2|"
  graphs = [graph_of(SPACE, one_hot(SPACE, from_string(chain.format(name)))) for name in ("skip_connect", "avg_pool_3x3")]
  first, second = (np.asarray(encoder(graph))[0] for graph in graphs)
  for node in (1, 6):  # before and behind the edge that differs, in one pass
    assert np.abs(first[node] - second[node]).max() > 1e-4


# Generated weights.


def picked(task, generated, genotype):
  """Gives the network derived from a genotype the generated weights of its path."""
  config = derived_image.Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
  module = derived_image.DerivedImageNetwork(config, genotype, (8, 8, 1), 10, np.random.default_rng(1))
  weights = jax.tree.map(np.asarray, generated)
  network, variables = functional.split(module)
  for stage, cells in enumerate(module.stack.stages):
    for number, cell in enumerate(cells):
      outgoing = weights["stack"]["stages"][stage][number].pop("outgoing")
      of_cell = variables.weights["stack"]["stages"][stage][number]["outgoing"]
      for source, edges in enumerate(cell.outgoing):
        targets = [target for origin, target in SPACE.edges if origin == source]
        for name, nodes in edges.targets:
          if "conv" in name:
            kernel = outgoing[source]["operations"]["others"][name]["kernel"][np.array([targets.index(node) for node in nodes])]
            own = of_cell[source]["operations"][name]["others"][name]
            assert own["kernel"].shape == kernel.shape
            own["kernel"] = jnp.asarray(kernel)

  def outside(path, leaf):  # stem, reductions, last normalization, classifier
    found = weights
    for key in path:
      if key.key == "outgoing":
        return leaf
      found = found[key.key]
    assert found.shape == leaf.shape
    return jnp.asarray(found)

  return network, functional.Variables(jax.tree_util.tree_map_with_path(outside, variables.weights), variables.stats)


@pytest.mark.parametrize("genotype", [CELL, OTHER])
def test_a_path_is_the_derived_network_with_the_generated_weights(trained, genotype):
  task, weights = trained
  path = one_hot(SPACE, genotype)
  generated = task.generate(weights, path)
  images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
  logits = quick_jit(task._predict)((generated, path), images)
  network, variables = picked(task, generated, genotype)
  (expected, _), _ = quick_jit(lambda variables, images: functional.apply(network, variables, images, train=True))(variables, images)
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
  assert np.ptp(logits, axis=0).max() > 0.01


@pytest.mark.parametrize("encoder", list(ENCODERS))
@pytest.mark.parametrize("space", [SPACE, FEW_NODES], ids=["nasbench201", "darts"])
def test_weights_are_generated_for_every_array_that_is_no_scale_or_bias(dataset, encoder, space):
  task = made(dataset, space, encoder=encoder)
  like = functional.split(image_supernet.ImageSupernet(SIZE, space, 1, 10, np.random.default_rng(0)))[1].weights
  rng = np.random.default_rng(0)
  first, second = (task.generate(task.initial, one_hot(space, space.sample(rng))) for _ in range(2))
  assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, like)
  edges_that_differ = 0
  for (keys, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
    is_shared = keys[-1].key in ("scale", "bias")
    if any(key.key == "outgoing" for key in keys):  # an edge that both lack is generated alike
      edges_that_differ += not np.array_equal(a, b)
    else:
      assert np.array_equal(a, b) == is_shared, keys
  assert edges_that_differ > 5
  for kernel in task.kernels:
    array = first
    for key in kernel.path:
      array = array[key]
    of_parts = np.sqrt(np.square(array).reshape(len(kernel.states), -1).mean(1))
    np.testing.assert_allclose(of_parts, kernel.scale, rtol=1e-3)


def test_a_gradient_reaches_every_weight_of_the_hypernetwork(dataset):
  task = made(dataset)
  after, metrics = task.step(task.init(), 0)
  moved = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), task.initial, after.weights)
  assert all(jax.tree.leaves(moved)), [path for path, leaf in jax.tree_util.tree_leaves_with_path(moved) if not leaf]
  assert np.isfinite(metrics["loss"])


# Evaluation.


def test_evaluation_changes_no_state_and_gives_the_same_number_twice(trained):
  task, weights = trained
  before = bits((weights, task.initial))
  evaluate = TrainedOnce(task, weights, seconds=100.0)
  first, second, again = (evaluate(Proposal(cell)) for cell in (CELL, OTHER, CELL))
  assert bits((weights, task.initial)) == before
  assert again.score == first.score and again.metrics == first.metrics and first.metrics != second.metrics
  assert first.cost > 100 > second.cost > 0


def test_the_same_network_with_other_numbers_of_nodes_has_the_same_score(trained):
  task, weights = trained
  one, other = (task.validate(weights, one_hot(SPACE, cell)) for cell in (CELL, TURNED))
  assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_another_architecture_compiles_nothing(trained, compilations):
  task, weights = trained
  state = task.init()
  state, _ = task.step(state, 0)
  task.validate(weights, one_hot(SPACE, CELL))
  with compilations() as compiled:
    task.step(state, 1)
    task.validate(weights, one_hot(SPACE, NOTHING))
  assert compiled == []


def test_an_interrupted_training_ends_in_the_same_bits(dataset, trained, tmp_path):
  task, weights = trained
  with Checkpoints(tmp_path) as checkpoints:
    begun = loop.restore(task, checkpoints)
    next(loop.run(task, begun, checkpoints))
    checkpoints.wait()
    resumed = loop.restore(made(dataset), checkpoints)
    assert resumed.step == task.end_of_epoch(1)
    (*_, record) = loop.run(task, resumed)
  assert bits(resumed.state.weights) == bits(weights) and record["epoch"] == 20


def test_bad_settings_and_architectures_are_refused(trained):
  with pytest.raises(FieldError, match="encoder is grph; did you mean 'graph'?"):
    Config(encoder="grph")
  for field in ("width", "passes", "decoder_width", "epochs", "learning_rate"):
    with pytest.raises(FieldError, match=f"{field} is 0"):
      Config(**{field: 0})
  task, weights = trained
  assert NONE in SPACE.operations
  with pytest.raises(InputError, match="missing|unknown|space"):
    TrainedOnce(task, weights)(Proposal(DARTS.sample(np.random.default_rng(0))))
