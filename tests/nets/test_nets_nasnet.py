"""The networks of NASNet-A, AmoebaNet-A and -B and NAONet: published sizes, auxiliary heads, drop-path by depth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.nasnet_stack import NaonetStack, NasnetStack
from dnas.cells.registries import FORMER_NAMES, IMAGE_GENOTYPES, SPACES, STACKS, Auxiliary
from dnas.core import tree
from dnas.core.errors import FieldError, InputError
from dnas.launchers.train import load_genotype
from dnas.nets.derived_image import AuxiliaryHead, Config, DerivedImageNetwork
from dnas.nets.edges import DiscreteEdges, DropPath

SIZES = {
  ("NASNet_A", 32): (3_346_538, 1_631_498),
  ("AmoebaNet_A", 32): (2_567_754, 1_615_114),
  ("AmoebaNet_A", 36): (3_218_266, 1_619_210),
  ("AmoebaNet_B", 36): (2_839_186, 1_619_210),
  ("AmoebaNet_B", 80): (13_716_250, 1_664_266),
  ("AmoebaNet_B", 128): (34_874_506, 1_713_418),
  ("NAONet", 36): (11_523_214, 457_994),
  ("NAONet", 64): (36_353_866, 501_002),
}
ENDS = {("NASNet_A", 32): (2_784, 7_690), ("AmoebaNet_B", 128): (11_136, 20_490)}  # stem, classifier
CELLS = {  # 0, 1, 2-5, reduction, 7, 8, 9-12, reduction, 14, 15, 16-19
  ("NASNet_A", 32): (40_384, 25_152, 28_224, 87_168, 81_024, 93_312, 101_504, 305_408, 301_312, 350_464, 383_232),
  ("AmoebaNet_B", 128): (
    *(400_896, 252_928, 269_312, 681_216, 800_768, 931_840),
    *(1_062_912, 2_681_344, 3_174_400, 3_698_688, 4_222_976),
  ),
}


class Zeros:
  """In the place of a random generator: nothing of large networks is drawn."""

  def uniform(self, low, high, shape):
    return np.zeros(shape, np.float32)

  def normal(self, mean, deviation, shape):
    return np.zeros(shape, np.float32)


@functools.cache
def weights(name, channels):
  network = DerivedImageNetwork(Config(channels=channels, cells=20), IMAGE_GENOTYPES[name], (32, 32, 3), 10, Zeros())
  return functional.split(network)[1].weights


@pytest.mark.parametrize(("name", "channels"), SIZES)
def test_published_sizes(name, channels):
  found = weights(name, channels)
  head = tree.size(found["auxiliary"])
  assert (tree.size(found) - head, head) == SIZES[name, channels]


@pytest.mark.parametrize(("name", "channels"), CELLS)
def test_published_sizes_of_the_parts(name, channels):
  found = weights(name, channels)
  first, second, rest1, reduction1, after1, again1, rest2, reduction2, after2, again2, rest3 = CELLS[name, channels]
  expected = [first, second, *[rest1] * 4, reduction1, after1, again1, *[rest2] * 4, reduction2, after2, again2, *[rest3] * 4]
  assert [tree.size(cell) for cell in found["stack"]["cells"].values()] == expected
  stem = found["stack"]["stem"], found["stack"]["stem_norm"]
  assert (tree.size(stem), tree.size(found["classifier"])) == ENDS[name, channels]


def test_every_published_genotype_of_the_scaffold_has_its_size_tested():
  assert {name for name, _ in SIZES} == {name for name in IMAGE_GENOTYPES if issubclass(STACKS[IMAGE_GENOTYPES[name].space], NasnetStack)}


# The auxiliary head.


def tiny(name, cells=5, **options):
  config = Config(channels=4, cells=cells, stem_multiplier=1, **options)
  return DerivedImageNetwork(config, IMAGE_GENOTYPES[name], (32, 32, 3), 5, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "cell", "size"), [("NASNet_A", 2, 4), ("AmoebaNet_B", 2, 4), ("NAONet", 4, 2)])
def test_the_head_reads_all_that_its_pooling_leaves(name, cell, size):
  network = tiny(name)
  assert network.auxiliary_cell == cell and network.auxiliary.conv2.kernel.shape == (size, size, 128, 768)
  seen = []

  def head(self, x, train):
    seen.append(x.shape)
    return jnp.zeros((2, 5))

  split, variables = functional.split(network)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(AuxiliaryHead, "__call__", head)
    jax.eval_shape(lambda v: functional.apply(split, v, jnp.zeros((2, 32, 32, 3)), train=True), variables)
  assert seen == [(2, 4 * size, 4 * size, network.stack.widths[cell])]


@pytest.mark.parametrize("size", [2, 4])
def test_the_head_by_hand(size):
  head, side = AuxiliaryHead(4, 5, np.random.default_rng(0), Auxiliary(0, size)), 3 * size + 4
  x = np.random.default_rng(1).normal(size=(3, side, side, 4))

  def normalized(y):
    axes = tuple(range(y.ndim - 1))
    return np.maximum((y - y.mean(axes)) / np.sqrt(y.var(axes) + 1e-5), 0)

  starts = range(0, 3 * size, 3)
  pooled = np.stack([np.stack([np.maximum(x, 0)[:, i : i + 5, j : j + 5].mean((1, 2)) for j in starts], 1) for i in starts], 1)
  narrow = normalized(pooled @ np.asarray(head.conv1.kernel[...])[0, 0])
  wide = normalized(np.einsum("bijc,ijcd->bd", narrow, np.asarray(head.conv2.kernel[...])))
  expected = wide @ np.asarray(head.classifier.kernel[...]) + np.asarray(head.classifier.bias[...])
  np.testing.assert_allclose(head(jnp.asarray(x, jnp.float32), True), expected, rtol=1e-3, atol=1e-3)


def test_a_network_too_short_for_its_head_is_refused():
  message = "^network.auxiliary is True; the networks of space 'naonet' have no auxiliary head at 3 cells; set it to false"
  with pytest.raises(FieldError, match=message):
    tiny("NAONet", cells=3)
  assert tiny("NAONet", cells=3, auxiliary=False).auxiliary is None


# Drop-path.


def rates_of(network, monkeypatch):
  seen = []

  def stack(self, images, contexts, train):
    seen.extend(contexts(index, cell_type) for index, cell_type in enumerate(self.cell_types))
    return [jnp.zeros((2, 8, 8, width)) for width in self.widths]

  monkeypatch.setattr(type(network.stack), "__call__", stack)
  network(jnp.zeros((2, 32, 32, 3)), False, jax.random.key(0), jnp.float32(0.4))
  return [[float(drop.rate) for drop in contexts] for contexts in seen]


@pytest.mark.parametrize("name", ["NASNet_A", "DARTS_V2"])
def test_drop_path_rises_with_depth_where_the_network_says_so(name, monkeypatch):
  """keep = 1 - (step / total) ((i + 1) / cells) (1 - keep_end); the caller multiplies the first and the last factor."""
  flat = rates_of(tiny(name), monkeypatch)
  scaled = rates_of(tiny(name, drop_path_by_depth=True), monkeypatch)
  states = [2 + len(IMAGE_GENOTYPES[name][cell].nodes) for cell in ("normal", "reduce", "normal", "reduce", "normal")]
  assert flat == [[pytest.approx(0.4)] * count for count in states]
  assert scaled == [[pytest.approx(0.4 * (index + 1) / 5)] * count for index, count in enumerate(states)]


@pytest.mark.parametrize(("stride", "channels_in", "kept"), [(1, 2, True), (2, 2, False), (1, 3, False)])
def test_only_a_bare_identity_is_never_dropped(stride, channels_in, kept):
  cell = SPACES["naonet"].parse("Genotype(normal=[('identity', 0), ('identity', 1)], normal_concat=[2], reduce=[], reduce_concat=[2])")
  edges = DiscreteEdges(cell["normal"], 0, 2, stride, np.random.default_rng(0), channels_in=channels_in)
  x = 1 + jnp.abs(jnp.asarray(np.random.default_rng(1).normal(size=(64, 4, 4, channels_in)), jnp.float32))
  dropped = np.asarray(jnp.abs(edges(x, DropPath(jax.random.key(0), jnp.float32(0.95)), True)[2]).sum((1, 2, 3))) == 0
  assert (dropped.mean() == 0) if kept else (dropped.mean() > 0.8)


def test_dropout_drops_features_in_training_alone(monkeypatch):
  network = tiny("NAONet", auxiliary=False, dropout=0.4)
  width, seen = network.stack.widths[-1], []
  monkeypatch.setattr(type(network.stack), "__call__", lambda self, *args: [jnp.ones((300, 2, 2, width))])
  monkeypatch.setattr(type(network.classifier), "__call__", lambda self, x: seen.append(np.asarray(x)))
  images, key = jnp.zeros((300, 32, 32, 3)), jax.random.key(0)
  for train, given in ((True, key), (False, key), (True, None)):
    network(images, train, given)
  dropped, *others = seen
  np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.6], rtol=1e-6)
  assert (dropped == 0).mean() == pytest.approx(0.4, abs=0.02) and len({row.tobytes() for row in dropped}) == 300
  assert all((other == 1).all() for other in others)


# Names.


def test_cells_of_older_runs_are_found_by_their_former_names():
  for former, name in FORMER_NAMES.items():
    assert former not in IMAGE_GENOTYPES and load_genotype(former) is IMAGE_GENOTYPES[name] and IMAGE_GENOTYPES[name].space == "nasnet"
  with pytest.raises(InputError, match="did you mean 'NASNet_A'"):
    load_genotype("NASNetA")


def test_the_stacks_of_the_spaces():
  assert STACKS["nasnet_a"] is STACKS["amoebanet"] is NasnetStack and STACKS["naonet"] is NaonetStack
