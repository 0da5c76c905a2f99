"""The convolutional supernet: its size, its agreement with derived networks, and bilevel steps on it.

Programs are compiled with few optimizations, once per module: they are run a few times each.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm
from dnas.cells.darts_conv import SPACE
from dnas.cells.functional import Variables
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE
from dnas.nets.derived_image import Config as DerivedConfig
from dnas.nets.derived_image import DerivedImageNetwork
from dnas.supernet import bilevel, relaxations
from dnas.supernet.discretize import one_hot
from dnas.supernet.edges import outgoing_rows
from dnas.supernet.hypergradients import FiniteDifference, FirstOrder, Unrolled
from dnas.supernet.image_supernet import Config, ImageSupernet
from dnas.train import optimizers

CHANNELS, CELLS, IMAGE, BATCH, CLASSES = 2, 3, 8, 6, 3
SIZE = dict(channels=CHANNELS, cells=CELLS, stem_multiplier=1)
ALL = dataclasses.replace(SPACE, num_nodes=2)  # every operation, few edges: 0-2, 1-2; 0-3, 1-3, 2-3
SOME = dataclasses.replace(ALL, operations=(NONE, "max_pool_3x3", "skip_connect", "dil_conv_3x3"))


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
  before = jax.config.jax_disable_most_optimizations
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)


def supernet_of(space, seed=0):
  return functional.split(ImageSupernet(Config(**SIZE), space, 3, CLASSES, np.random.default_rng(seed)))


def images_of(seed):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(BATCH, IMAGE, IMAGE, 3)), jnp.float32)


def bits(values):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(values)]


def test_published_size():
  _, variables = functional.split(ImageSupernet(Config(), SPACE, 3, 10, np.random.default_rng(0)))
  assert tree.size(variables.weights) == 1_930_618


def test_bad_sizes_are_refused():
  for field in ("channels", "cells", "stem_multiplier"):
    with pytest.raises(FieldError, match=f"{field} is 0"):
      Config(**{field: 0})


def test_rows_of_a_state():
  assert [outgoing_rows(SPACE, source).tolist() for source in range(6)] == [[0, 2, 5, 9], [1, 3, 6, 10], [4, 7, 11], [8, 12], [13], []]


# A supernet whose mixture is one-hot computes what the derived network computes with the same weights.


def dealt_genotypes(seed, count):
  """Random genotypes; the operations are dealt like cards, so that together they hold every operation in both cell types."""
  rng = np.random.default_rng(seed)
  names = [name for name in ALL.operations if name != NONE]
  decks = {cell: [name for _ in range(count) for name in rng.permutation(names).tolist()] for cell in ALL.cells}
  out = []
  for _ in range(count):
    genotype = ALL.sample(rng)
    cells = [
      (cell, CellGenotype(tuple(tuple(Edge(decks[cell].pop(), source) for _, source in node) for node in genotype[cell].nodes), ALL.concat))
      for cell in ALL.cells
    ]
    out.append(Genotype(ALL.name, tuple(cells)))
  return out


GENOTYPES = dealt_genotypes(seed=0, count=2)


def derived_of(genotype):
  """The derived network, with the normalization after poolings that a search has and retraining has not."""
  config = DerivedConfig(**SIZE, auxiliary=False)
  network = DerivedImageNetwork(config, genotype, (IMAGE, IMAGE, 3), CLASSES, np.random.default_rng(1))
  for cell in network.stack.cells:
    for edges in cell.outgoing:
      for stack in edges.operations.values():
        if stack.pools:
          stack.pool_norm = BatchNorm(1, cell.preprocess1.norm.mean.shape[-1], affine=False)
  return network


def chosen(supernet_tree, network):
  """Picks from a tree of the supernet's variables what a derived network has, in the derived network's structure."""
  out = {name: value for name, value in supernet_tree.items() if name != "stack"}
  out["stack"] = {name: value for name, value in supernet_tree["stack"].items() if name != "cells"}
  out["stack"]["cells"] = {}
  for index, cell in enumerate(network.stack.cells):
    variables = supernet_tree["stack"]["cells"][index]
    outgoing = {}
    for source, edges in enumerate(cell.outgoing):
      targets = [target for origin, target in ALL.edges if origin == source]
      stacks = {
        name: chosen_operation(variables["outgoing"][source]["operations"], name, [targets.index(node) for node in nodes], len(targets))
        for name, nodes in edges.targets.items()
      }
      outgoing[source] = {"operations": stacks}
    out["stack"]["cells"][index] = {**variables, "outgoing": outgoing}
  return out


POOLS = ("max_pool_3x3", "avg_pool_3x3")
SEPARABLE = [("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"), ("sep_conv_3x3", "sep_conv_5x5")]  # by layer


def chosen_operation(stack, name, rows, edges):
  """Picks the variables of one operation on some of the edges."""
  if name in POOLS:
    return {"pool_norm": jax.tree.map(lambda x: x[POOLS.index(name)][None], stack.get("pool_norm", {}))}
  if name == "skip_connect":
    return {"others": jax.tree.map(lambda x: x[np.array(rows)], stack.get("others", {}))}
  layers = {}
  for depth, names in enumerate(SEPARABLE):
    if name in names:
      layer, k = stack["layers"][depth], names.index(name)
      picked = np.array(rows) + k * edges
      layers[depth] = {key: jax.tree.map(lambda x: x[picked], layer[key]) for key in layer if key != "depthwise"}  # noqa: B023
      if "depthwise" in layer:
        layers[depth]["depthwise"] = {0: layer["depthwise"][k][np.array(rows)]}
  return {"layers": layers}


def leaves_by_path(values):
  return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(values)}


def overlaid(base, leaves):
  """Returns the tree `base` with some of its leaves replaced, and the paths of those that were not."""
  paths = leaves_by_path(base)
  assert set(leaves) <= set(paths) and all(paths[path].shape == leaf.shape for path, leaf in leaves.items())
  new = jax.tree_util.tree_map_with_path(lambda path, leaf: leaves.get(jax.tree_util.keystr(path), leaf), base)
  return new, set(paths) - set(leaves)


def weighted_logits(network):
  """A compiled function: the logits weighted at random, with their gradient in the weights; logits; batch statistics."""

  def scalar(weights, stats, factors, *args):
    output, stats = functional.apply(network, Variables(weights, stats), images_of(0), *args, train=True)
    logits = output[0] if isinstance(output, tuple) else output
    return (logits * factors).sum(), (logits, stats)

  return jax.jit(jax.value_and_grad(scalar, has_aux=True))


@pytest.fixture(scope="module")
def all_operations():
  network, variables = supernet_of(ALL)
  return variables, weighted_logits(network)


@pytest.mark.parametrize("genotype", GENOTYPES, ids=["first", "second"])
def test_one_hot_supernet_is_the_derived_network(all_operations, genotype):
  variables, supernet = all_operations
  factors = jnp.asarray(np.random.default_rng(2).normal(size=(BATCH, CLASSES)), jnp.float32)
  (_, (logits, stats)), gradient = supernet(variables.weights, variables.stats, factors, one_hot(ALL, genotype))

  module = derived_of(genotype)
  network, derived = functional.split(module)
  weights, kept = overlaid(derived.weights, leaves_by_path(chosen(variables.weights, module)))
  assert all("cells" in path and path.endswith(("['scale']", "['bias']")) for path in kept)  # ones and zeros: no effect
  (_, (logits_derived, stats_derived)), gradient_derived = weighted_logits(network)(weights, derived.stats, factors)

  np.testing.assert_allclose(logits_derived, logits, rtol=1e-3, atol=1e-4)
  assert np.abs(logits).max() > 0.1
  expected, got = leaves_by_path(chosen(gradient, module)), leaves_by_path(gradient_derived)
  for path, leaf in expected.items():
    np.testing.assert_allclose(got[path], leaf, rtol=1e-3, atol=1e-3 * float(tree.norm(gradient)), err_msg=path)
  np.testing.assert_allclose(tree.norm(expected), tree.norm(gradient), rtol=1e-5)  # what was not chosen has no gradient
  moved, _ = overlaid(derived.stats, leaves_by_path(chosen(stats, module)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), stats_derived, moved)


def test_the_genotypes_hold_every_operation():
  for cell in ALL.cells:
    held = {edge.operation for genotype in GENOTYPES for node in genotype[cell].nodes for edge in node}
    assert held == set(ALL.operations) - {NONE}
