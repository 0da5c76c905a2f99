"""The derived network: published sizes, drop-path, the auxiliary head, nodes that read a state twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional, pooling
from dnas.cells.image_stack import ImageStack, LargeStem
from dnas.cells.registries import IMAGE_GENOTYPES, Auxiliary
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.nets.derived_image import AuxiliaryHead, Config, DerivedImageNetwork
from dnas.nets.edges import DiscreteEdges, DropPath

KEY = jax.random.key(0)
SKIP, MAX, AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"


def rng():
  return np.random.default_rng(0)


def states(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# Published sizes, at 36 channels and 20 cells on CIFAR-10, without the auxiliary head.

PUBLISHED = {
  "DARTS_V1": 3_169_414,
  "DARTS_V2": 3_349_342,
  "PC_DARTS_cifar": 3_634_678,
  "PDARTS": 3_433_798,
  "AmoebaNet_in_DARTS": 3_145_078,
  "NASNet_in_DARTS": 3_830_950,
}
HEAD = {576: 476_426, 432: 457_994}  # by the channels that the second reduction cell puts out: four or three nodes of 144


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
  genotype = IMAGE_GENOTYPES[name]
  network = DerivedImageNetwork(Config(), genotype, (32, 32, 3), 10, rng())
  _, variables = functional.split(network)
  head = tree.size(variables.weights["auxiliary"])
  assert network.auxiliary_cell == 13 and network.stack.auxiliary[:2] == (13, 2) and head == HEAD[144 * len(genotype["reduce"].concat)]
  assert tree.size(variables.weights) - head == PUBLISHED[name]


# Drop-path.


def test_drop_path_keeps_or_drops_whole_examples_of_single_edges():
  x = 1 + jnp.abs(states(0, 3, 40, 2, 2, 4))
  dropped = np.asarray(DropPath(KEY, jnp.float32(0.25))(0, x))
  kept = dropped[:, :, 0, 0, 0] != 0
  np.testing.assert_allclose(dropped, np.where(kept[:, :, None, None, None], x / 0.75, 0), rtol=1e-6)
  assert kept.any() and not kept.all() and len({row.tobytes() for row in kept}) == 3  # edges are dropped independently


def test_drop_path_keeps_the_expectation():
  ones = jnp.ones((50, 400, 1, 1, 1))
  dropped = np.asarray(DropPath(KEY, jnp.float32(0.2))(0, ones))
  assert np.mean(dropped == 0) == pytest.approx(0.2, abs=0.01) and dropped.mean() == pytest.approx(1, abs=0.0125)


def test_drop_path_of_rate_zero_is_the_identity():
  x = states(0, 3, 8, 2, 2, 4)
  assert np.asarray(DropPath(KEY, jnp.float32(0))(0, x)).tobytes() == np.asarray(x).tobytes()


def test_drop_path_depends_on_key_and_index_alone():
  x = jnp.ones((2, 64, 1, 1, 1))
  masks = [DropPath(key, jnp.float32(0.5))(index, x) for key in jax.random.split(KEY, 2) for index in range(2)]
  assert len({np.asarray(mask).tobytes() for mask in masks}) == 4
  again = DropPath(jax.random.split(KEY, 2)[1], jnp.float32(0.5))(1, x)
  assert (again == masks[3]).all()


def test_drop_path_has_the_gradient_of_what_it_keeps():
  drop, x = DropPath(KEY, jnp.float32(0.5)), states(0, 1, 16, 1, 1, 1)
  gradient = jax.grad(lambda x: drop(0, x).sum())(x)
  assert set(np.unique(gradient)) == {0, 2} and ((gradient == 0) == (drop(0, x) == 0)).all()


def cell_of(*nodes):
  return CellGenotype(tuple(tuple(Edge(*edge) for edge in node) for node in nodes), tuple(range(2, 2 + len(nodes))))


def test_identities_are_never_dropped_and_everything_else_is():
  cell = cell_of([(SKIP, 0), (SKIP, 1)], [(SKIP, 0), (MAX, 1)], [(AVG, 0), (SKIP, 2)])
  x, almost_all = 1 + jnp.abs(states(0, 64, 4, 4, 2)), DropPath(KEY, jnp.float32(0.95))
  received = DiscreteEdges(cell, 0, 2, 1, rng())(x, almost_all, True)
  assert set(received) == {2, 3, 4} and (received[2] == x).all() and (received[3] == x).all()
  assert np.mean(np.asarray(received[4][:, 0, 0, 0]) == 0) > 0.8
  received = DiscreteEdges(cell, 0, 2, 2, rng())(x, almost_all, True)  # a skip of stride 2 is a convolution
  for target in (2, 3, 4):
    assert received[target].shape == (64, 2, 2, 2) and np.mean(np.asarray(jnp.abs(received[target]).sum((1, 2, 3))) == 0) > 0.8


def test_no_drop_path_and_drop_path_of_rate_zero_are_the_same():
  edges = DiscreteEdges(cell_of([(AVG, 0), (SKIP, 0)], [(MAX, 0), (SKIP, 1)]), 0, 2, 1, rng())
  x = states(0, 3, 4, 4, 2)
  without, zero = edges(x, None, True), edges(x, DropPath(KEY, jnp.float32(0)), True)
  assert set(without) == set(zero) == {2, 3}
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), without, zero)


SMALL = Genotype(
  "darts_conv",
  (
    ("normal", cell_of([(SKIP, 0), (AVG, 1)], [(MAX, 2), ("dil_conv_3x3", 0)])),
    ("reduce", cell_of([(MAX, 0), (AVG, 1)], [(SKIP, 2), (MAX, 1)])),
  ),
)


def small_network(size=32, auxiliary=True, width=None):
  config = Config(channels=2, cells=3, stem_multiplier=1, auxiliary=auxiliary)
  return DerivedImageNetwork(config, SMALL, (size, width or size, 3), 5, rng())


def test_every_state_of_every_cell_has_its_own_masks(monkeypatch):
  network, seen = small_network(), []

  def stack(self, images, contexts, train):
    seen.extend(contexts(index, cell_type) for index, cell_type in enumerate(self.cell_types))
    return [jnp.zeros((2, 8, 8, width)) for width in self.widths]

  monkeypatch.setattr(ImageStack, "__call__", stack)
  rate = jnp.float32(0.3)
  network(jnp.zeros((2, 32, 32, 3)), False, KEY, rate)
  assert [len(contexts) for contexts in seen] == [4, 4, 4]
  drops = [drop for contexts in seen for drop in contexts]
  assert all(drop.rate is rate for drop in drops)
  assert len({np.asarray(jax.random.key_data(drop.key)).tobytes() for drop in drops}) == 12
  seen.clear()
  network(jnp.zeros((2, 32, 32, 3)), False)
  assert seen == [[None] * 4] * 3


# A node that reads one state twice, as in the cells of NASNet and AmoebaNet.


@pytest.mark.parametrize("drop_path", [None, DropPath(KEY, jnp.float32(0))], ids=["no-drop", "rate-0"])
def test_a_node_that_reads_a_state_twice_sums_both(drop_path):
  cell = cell_of([(AVG, 0), (AVG, 0)], [(MAX, 0), (SKIP, 0)], [(AVG, 0), (SKIP, 1)])
  x = states(0, 2, 4, 4, 3)
  received = DiscreteEdges(cell, 0, 3, 1, rng())(x, drop_path, True)
  pooled, highest = pooling.avg_pool(x[None], 1)[0], pooling.max_pool(x[None], 1)[0]
  for target, expected in {2: 2 * pooled, 3: highest + x, 4: pooled}.items():
    np.testing.assert_allclose(received[target], expected, rtol=1e-6, atol=1e-6)
  assert set(DiscreteEdges(cell, 1, 3, 1, rng())(x, drop_path, True)) == {4}
  assert DiscreteEdges(cell, 3, 3, 1, rng())(x, drop_path, True) == {}


def test_two_equal_convolutions_of_a_state_have_their_own_weights():
  edges = DiscreteEdges(cell_of([("dil_conv_3x3", 0), ("dil_conv_3x3", 0)]), 0, 2, 1, rng())
  _, variables = functional.split(edges)
  one_edge = 9 * 2 + 2 * 2 + 2 + 2  # depthwise, pointwise, scale, bias
  assert tree.size(variables.weights) == 2 * one_edge


@pytest.mark.parametrize("name", ["NASNet_in_DARTS", "AmoebaNet_in_DARTS", "NASNet_A", "AmoebaNet_A", "AmoebaNet_B", "NAONet"])
@pytest.mark.parametrize("cell_type", ["normal", "reduce"])
def test_no_edge_of_the_published_cells_is_lost(name, cell_type):
  cell = IMAGE_GENOTYPES[name][cell_type]
  modules = [DiscreteEdges(cell, source, 2, 1, rng()) for source in range(7)]
  made = [(name, source, target) for source, edges in enumerate(modules) for name, nodes in edges.targets for target in nodes]
  assert sorted(made) == sorted((*edge, 2 + index) for index, node in enumerate(cell.nodes) for edge in node)


# The auxiliary head.


@pytest.mark.parametrize("train, auxiliary", [(True, True), (False, True), (True, False)])
def test_auxiliary_logits_only_in_training(train, auxiliary):
  network, variables = functional.split(small_network(auxiliary=auxiliary))
  images = jnp.zeros((4, 32, 32, 3))
  noise = {"key": KEY, "drop_path": jnp.float32(0.1)} if train else {}
  (logits, second), stats = jax.eval_shape(
    lambda variables: functional.apply(network, variables, images, train=train, **noise), variables
  )
  assert logits.shape == (4, 5) and (second.shape == (4, 5) if train and auxiliary else second is None)
  assert jax.tree.structure(stats) == jax.tree.structure(variables.stats)
  assert ("auxiliary" in variables.weights) == auxiliary


@pytest.mark.parametrize("size, width", [(28, None), (33, None), (8, None), (28, 32), (32, 33)])
def test_images_that_the_auxiliary_head_cannot_read(size, width):
  with pytest.raises(FieldError, match="auxiliary is True; the auxiliary head needs images of 29 to 32 pixels"):
    small_network(size, width=width)
  assert small_network(size, auxiliary=False, width=width).auxiliary is None


@pytest.mark.parametrize("size", [29, 32])
def test_images_that_the_auxiliary_head_reads(size):
  network, variables = functional.split(small_network(size))
  (_, second), _ = jax.eval_shape(lambda v: functional.apply(network, v, jnp.zeros((2, size, size, 3)), train=True), variables)
  assert second.shape == (2, 5)


def test_the_auxiliary_head_by_hand():
  head, x = AuxiliaryHead(4, 5, rng(), Auxiliary(0, size=2)), np.asarray(states(1, 3, 8, 8, 4))

  def normalized(y):
    axes = tuple(range(y.ndim - 1))
    return np.maximum((y - y.mean(axes)) / np.sqrt(y.var(axes) + 1e-5), 0)

  corners = [np.maximum(x, 0)[:, i : i + 5, j : j + 5].mean((1, 2)) for i in (0, 3) for j in (0, 3)]
  narrow = normalized(np.stack(corners, 1) @ np.asarray(head.conv1.kernel[...])[0, 0])  # [B, 4, 128]
  wide = normalized(np.einsum("bpc,pcd->bd", narrow, np.asarray(head.conv2.kernel[...]).reshape(4, 128, 768)))
  expected = wide @ np.asarray(head.classifier.kernel[...]) + np.asarray(head.classifier.bias[...])
  np.testing.assert_allclose(head(jnp.asarray(x), True), expected, rtol=1e-3, atol=1e-4)


def test_bad_sizes_are_refused():
  for field in ("channels", "cells", "stem_multiplier"):
    with pytest.raises(FieldError, match=f"{field} is 0"):
      Config(**{field: 0})


# The stem of ImageNet.


def test_the_published_size_on_imagenet():
  config = Config(channels=48, cells=14, stem_multiplier=1, stem="imagenet")
  network = DerivedImageNetwork(config, IMAGE_GENOTYPES["DARTS_V2"], (224, 224, 3), 1000, rng())
  split, variables = functional.split(network)
  head = tree.size(variables.weights["auxiliary"])
  assert tree.size(variables.weights) - head == 4_718_752 and "norm2" not in variables.weights["auxiliary"]
  (first, second), _ = jax.eval_shape(lambda v: functional.apply(split, v, jnp.zeros((2, 224, 224, 3)), train=True), variables)
  assert first.shape == second.shape == (2, 1000)
  outputs = jax.eval_shape(lambda: network.stack(jnp.zeros((1, 224, 224, 3)), lambda index, cell: [None] * 6, False))
  assert [output.shape[1] for output in outputs] == [28] * 4 + [14] * 5 + [7] * 5


def test_the_stem_of_imagenet_by_hand():
  stem = LargeStem(3, 4, rng())
  x = np.asarray(states(2, 2, 9, 13, 3))

  def convolved(x, kernel):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i, j in np.ndindex(rows, columns):
      out[:, i, j] = np.tensordot(padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], kernel, 3)
    return (out - out.mean((0, 1, 2))) / np.sqrt(out.var((0, 1, 2)) + 1e-5)

  kernels = [np.asarray(conv.kernel[...], np.float64) for conv in stem.convs]
  second = convolved(np.maximum(convolved(x, kernels[0]), 0), kernels[1])
  third = convolved(np.maximum(second, 0), kernels[2])
  for output, expected in zip(stem(jnp.asarray(x), True), (second, third), strict=True):
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-4)
  with pytest.raises(FieldError, match="network.stem_multiplier is 3; the stem imagenet ends in `channels` channels"):
    DerivedImageNetwork(Config(stem="imagenet"), IMAGE_GENOTYPES["DARTS_V2"], (224, 224, 3), 10, rng())
