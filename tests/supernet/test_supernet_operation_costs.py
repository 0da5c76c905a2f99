"""Costs of operations: sums that are the costs of derived networks, the expected cost of a mixture, and tables of latencies."""

import functools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.registries import SPACES
from dnas.core.errors import InputError
from dnas.nets import costs, derived_image
from dnas.supernet.discretize import one_hot
from dnas.supernet.image_supernet import Config
from dnas.supernet.latencies import Table
from dnas.supernet.operation_costs import COUNTED, Skeleton, counted
from dnas.supernet.relaxations import everything

SIZES = {
  "darts_conv": (Config(channels=4, cells=2), (9, 7, 3)),
  "nasbench201": (Config(channels=4, cells=3, stem_multiplier=1), (8, 8, 1)),
  "darts_s1": (Config(channels=4, cells=1), (8, 8, 3)),
  "nasnet_a": (Config(channels=4, cells=1), (4, 4, 3)),
  "darts_s2": (Config(channels=4, cells=2, stem="imagenet", stem_multiplier=1), (33, 33, 3)),
}
DIGITS = SPACES["nasbench201"].without(("nor_conv_1x1", "avg_pool_3x3"))


@functools.cache
def costs_of(name, kind):
  return counted(Skeleton.of(SPACES[name], *SIZES[name], 10), kind)


@pytest.mark.parametrize("name", SIZES)
def test_sums_are_the_costs_of_derived_networks(name):
  space, (size, shape) = SPACES[name], SIZES[name]
  found = {kind: costs_of(name, kind) for kind in COUNTED}
  config = derived_image.Config(size.channels, size.cells, size.stem_multiplier, size.stem, auxiliary=False)
  for seed in range(2 if name == "darts_conv" else 1):
    genotype = space.sample(np.random.default_rng(seed))
    network = derived_image.DerivedImageNetwork(config, genotype, shape, 10, np.random.default_rng(0))
    real = costs.of_image(*functional.split(network), shape)
    assert {kind: costs.of(genotype) for kind, costs in found.items()} == {kind: getattr(real, kind) for kind in COUNTED}


def test_the_expected_cost_of_one_architecture_is_its_cost_where_all_edges_are_kept():
  counted_costs = counted(Skeleton.of(DIGITS, *SIZES["nasbench201"], 10), "multiply_adds")
  for seed in range(5):
    genotype = DIGITS.sample(np.random.default_rng(seed))
    assert float(counted_costs.expected(one_hot(DIGITS, genotype))) == pytest.approx(counted_costs.of(genotype))


@pytest.mark.parametrize("name", ["darts_conv", "darts_s1"])
def test_the_expected_cost_of_a_uniform_mixture_is_the_mean_of_all_architectures(name):
  space, found = SPACES[name], costs_of(name, "multiply_adds")
  rng = np.random.default_rng(0)
  values = [found.of(space.sample(rng)) for _ in range(1000)]
  error = np.std(values) / len(values) ** 0.5
  assert abs(float(found.expected(everything(space))) - np.mean(values)) < 4 * error < 0.03 * np.mean(values)


def test_the_expected_cost_by_its_definition():
  space, found = SPACES["darts_conv"], costs_of("darts_conv", "multiply_adds")
  rng = np.random.default_rng(1)
  mixture = {cell: rng.dirichlet(np.ones(8), len(space.edges)).astype(np.float32) for cell in space.cells}
  total = found.constant
  for cell in space.cells:
    for node in range(2, 6):
      rows = [row for row, (_, target) in enumerate(space.edges) if target == node]
      weights, entries = mixture[cell][rows, 1:], found.entries[cell][rows, 1:]  # without `none`
      if len(rows) == 2:  # both edges are kept, whatever weights stand on them
        weights = weights / weights.sum(1, keepdims=True)
      total += 2 * (weights * entries).sum() / weights.sum()  # two pairs of an edge and an operation are drawn by their weights
  assert float(found.expected(mixture)) == pytest.approx(total, rel=1e-5)


def test_bounds_are_the_ends_of_what_a_mixture_can_cost():
  found, rng = costs_of("darts_s1", "multiply_adds"), np.random.default_rng(2)
  space = found.space
  mask = everything(space)
  least, most = found.bounds(mask)
  for _ in range(20):
    mixture = {cell: np.where(mask[cell] > 0, rng.random(mask[cell].shape) ** 8, 0) for cell in space.cells}
    mixture = {cell: weights / weights.sum(-1, keepdims=True) for cell, weights in mixture.items()}
    assert least <= float(found.expected(mixture)) <= most
  skips = {cell: mask[cell] * (np.array(space.operations) != "max_pool_3x3") for cell in space.cells}
  assert least <= found.bounds(skips)[0] <= found.bounds(skips)[1] <= most


def test_ruled_out_edges_count_nothing_and_give_no_nan():
  found = costs_of("nasbench201", "multiply_adds")
  nothing = {"cell": jnp.zeros((6, 5))}
  assert float(found.expected(nothing)) == found.constant


def test_a_table_of_latencies_is_written_read_and_asked(tmp_path):
  skeleton, size = Skeleton.of(DIGITS, *SIZES["nasbench201"], 10), SIZES["nasbench201"][0]
  rows = [{"operation": name, **place._asdict(), "milliseconds": number + 1} for number, (name, place) in enumerate(skeleton.operations())]
  path = tmp_path / "table.json"
  path.write_text(json.dumps({"rows": rows}))
  table = Table.read(path)
  table.write(path)
  assert Table.read(path) == table
  found = table.costs(skeleton, size)
  convolution, skip = (found.entries["cell"][0, DIGITS.operations.index(name)] for name in ("nor_conv_3x3", "skip_connect"))
  assert found.constant == 0 and {convolution, skip} == {1 + 3 + 5, 2 + 4 + 6} and found.entries["cell"][:, 0].sum() == 0
  path.write_text(json.dumps({"rows": rows[1:]}))
  name, place = skeleton.operations()[0]
  said = f"it lacks {name} from {place.height}x{place.width}x{place.channels_in} to {place.channels} channels at stride 1; measure"
  with pytest.raises(InputError, match=said):
    Table.read(path).costs(skeleton, size)


def rows_of(*rows, **fields):
  place = {"operation": "x", "channels_in": 1, "channels": 1, "stride": 1, "height": 1, "width": 1}
  return json.dumps({"rows": [place | row for row in rows or (fields,)]})


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("{", "it is no file with a table as JSON"),
    ("[]", "it has no list of 'rows'"),
    ('{"rows": [3]}', "its row 1 is 3; a row has operation, channels_in"),
    ('{"rows": [{"operation": "x", "milliseconds": 1}]}', "its row 1 has no channels_in; give a size above zero"),
    ("[" * 100_000, "it is no file with a table as JSON"),
    (rows_of(milliseconds=-1), "its row 1 has -1 as milliseconds; give milliseconds from 0 to 1e[+]09"),
    (rows_of(milliseconds=10**400), "its row 1 has 1000.* as milliseconds"),
    (rows_of(milliseconds=True), "its row 1 has True as milliseconds"),
    (rows_of(milliseconds="0.5"), "its row 1 has '?0.5'? as milliseconds"),
    (rows_of(milliseconds=1, quartiles=[float("nan"), 1]), "its row 1 has nan as quartiles"),
    (rows_of(milliseconds=1, quartiles=5), "its row 1 has 5 as quartiles; give two numbers"),
    (rows_of(milliseconds=1, quartiles=[1]), "its row 1 has .* as quartiles; give two numbers"),
    (rows_of({"milliseconds": 1}, {"milliseconds": 2}), "its row 2 is a second one of x from 1x1x1 to 1 channels at stride 1"),
  ],
)
def test_what_is_no_table_is_refused(text, said, tmp_path):
  (tmp_path / "table.json").write_text(text)
  with pytest.raises(InputError, match=said):
    Table.read(tmp_path / "table.json")
