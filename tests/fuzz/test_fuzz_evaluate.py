"""Evaluators, fuzzed: tables and their file formats, configurations, zero-cost proxies; see `fuzzing`."""

import csv
import functools
import io
import json
import math
import zipfile

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz_units import REFUSED, fuzzed, outcome
from fuzzing import ANYTHING, NUMBERS, STRANGE, TEXTS, check_settings, damaged, settings_of
from hypothesis import strategies as st

from dnas.cells import functional, nasbench201
from dnas.cells.registries import SPACES
from dnas.core import keys
from dnas.core.records import Proposal
from dnas.evaluate import nasbench201_formats as formats
from dnas.evaluate import synthetic_table, weight_sharing, zero_cost
from dnas.evaluate.tabular import Table, Tabular, all_genotypes, report_test
from dnas.nets import derived_image

PLANTED = synthetic_table.planted()
ROWS = len(PLANTED.genotypes)
COLUMN = np.linspace(10, 90, ROWS)


@fuzzed(150, values=settings_of(weight_sharing.Config))
def test_settings_of_weight_sharing(values):
  check_settings(weight_sharing.Config, values)


# The planted table.


@fuzzed(150, values=settings_of(synthetic_table.Config))
def test_settings_of_the_planted_table(values):
  check_settings(synthetic_table.Config, values)


@fuzzed(20, shrink=False, values=settings_of(synthetic_table.Config))
def test_every_planted_table_shows_its_optimum(values):
  config = check_settings(synthetic_table.Config, values)
  hypothesis.assume(config is not REFUSED)
  table, best = synthetic_table.planted(config), synthetic_table.optimum(config)
  assert table.epochs == config.epochs
  for epochs in table.epochs:
    assert table.valid(epochs).argmax() == best and np.isfinite(table.seconds(epochs)).all()


# Tables.


@st.composite
def columns(draw):
  """Returns a column of a table, with one strange cell, or anything."""
  kind = draw(st.sampled_from(("good", "good", "good", "cell", "length", "type", "anything")))
  if kind == "cell":
    column = COLUMN.astype(object)
    column[draw(st.integers(0, ROWS - 1))] = draw(st.one_of(NUMBERS, st.none(), TEXTS))
    return column
  if kind == "length":
    return COLUMN[: draw(st.integers(0, ROWS))]
  if kind == "type":
    return COLUMN.astype(draw(st.sampled_from(("f4", "i4", "u1", "?", "c16", "U8", "S8", "O", "M8[s]", "m8[s]"))))
  return draw(ANYTHING) if kind == "anything" else COLUMN


EPOCHS = st.one_of(
  st.sampled_from((12, 200)), st.integers(-1, 300), ANYTHING.filter(lambda value: not isinstance(value, list | dict | np.ndarray))
)


def hashable(value):
  try:
    return hash(value) is not None
  except TypeError:
    return False


BY_EPOCHS = st.one_of(columns().map(lambda column: {200: column}), st.dictionaries(EPOCHS.filter(hashable), columns(), max_size=2))


@fuzzed(60, shrink=False, valid=BY_EPOCHS, test=BY_EPOCHS, seconds=BY_EPOCHS, same=st.booleans(), name=TEXTS)
def test_a_table_holds_what_was_given_or_refuses_it(valid, test, seconds, same, name):
  table = outcome(Table, name, all_genotypes(), valid, test, valid if same else seconds)
  if table is REFUSED:
    return
  assert table.epochs == tuple(sorted(valid)) and all(isinstance(epochs, int) and epochs > 0 for epochs in (*table.epochs, *test))
  for epochs in table.epochs:
    assert table.valid(epochs).tolist() == list(map(float, valid[epochs])) and table.valid(epochs).dtype == np.float64
    assert np.isfinite(table.seconds(epochs)).all()
  for epochs in test:
    assert report_test(table, table.genotypes[7], epochs) == float(test[epochs][7])


@fuzzed(30, order=st.one_of(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=5)), cut=st.integers(0, 2))
def test_rows_may_be_in_any_order_and_each_once(order, cut):
  genotypes = [all_genotypes()[index] for index in order] + list(all_genotypes()[4 : ROWS - cut])
  table = outcome(Table, "t", genotypes, *[{1: COLUMN[: len(genotypes)]}] * 3)
  assert (table is REFUSED) == (sorted(order) != [0, 1, 2, 3] or cut > 0)
  assert table is REFUSED or [table.row(all_genotypes()[index]) for index in order] == [0, 1, 2, 3]


@fuzzed(
  100,
  budget=st.one_of(st.none(), st.sampled_from((12, 200)), st.integers(1, 300)),
  space=st.sampled_from(list(SPACES)),
  seed=st.integers(0, 99),
  epochs=EPOCHS,
)
def test_looking_up(budget, space, seed, epochs):
  genotype = SPACES[space].sample(np.random.default_rng(seed))
  tabular = outcome(Tabular, PLANTED, epochs)
  if tabular is REFUSED:
    assert epochs not in (12, 200)
    return
  found = outcome(tabular, Proposal(genotype, budget))
  if found is REFUSED:
    assert space != nasbench201.SPACE.name or budget not in (12, 200, None)
    return
  row, asked = nasbench201.SPACE.encode(genotype), epochs if budget is None else budget
  number = sum(choice * 5 ** (5 - place) for place, choice in enumerate(row))
  assert found.score == PLANTED.valid(asked)[number] and found.cost == PLANTED.seconds(asked)[number]
  assert outcome(report_test, PLANTED, genotype, epochs) is REFUSED or epochs == 200


# Files.


@functools.cache
def npz_columns():
  ops = np.array([nasbench201.SPACE.encode(genotype) for genotype in PLANTED.genotypes], np.uint8)
  columns = {"op_names": np.array(nasbench201.SPACE.operations), "ops": ops, "c10_200_val": COLUMN, "c10_200_test": COLUMN}
  return columns | {"c10_200_time": COLUMN}


NAMES = st.sampled_from(
  ("op_names", "ops", "c10_200_val", "c10_200_test", "c10_200_time", "c10_12_val", "c10_0200_val", "c10_٢_val", "c10_0_val")
)


@fuzzed(
  20,
  shrink=False,
  changes=st.dictionaries(NAMES, columns(), max_size=2),
  left_out=st.sets(NAMES, max_size=1),
  dataset=st.sampled_from((*formats.DATASETS, *["cifar10"] * 9, "cifar", "")),
)
def test_columns_of_an_npz(changes, left_out, dataset, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
  columns = {name: np.asarray(column) for name, column in (npz_columns() | changes).items() if name not in left_out}
  np.savez(path, **columns)
  table = outcome(formats.read_npz, path, dataset)
  if table is not REFUSED:
    assert dataset == "cifar10" and set(table.epochs) <= {12, 200}
    for epochs in table.epochs:
      assert table.valid(epochs).tolist() == columns[f"c10_{epochs}_val"].astype(float).tolist()
    outcome(formats.write_npz, path, {dataset: table})
    again = formats.read_npz(path, dataset)
    assert all(
      (again.valid(epochs) == table.valid(epochs)).all() and (again.seconds(epochs) == table.seconds(epochs)).all()
      for epochs in table.epochs
    )


@functools.cache
def small_npz(compressed):
  file = io.BytesIO()
  (np.savez_compressed if compressed else np.savez)(file, **{name: column[:3] for name, column in npz_columns().items()})
  return file.getvalue()


@fuzzed(150, data=st.data(), compressed=st.booleans())
def test_damaged_npz(data, compressed, tmp_path_factory, little_memory):
  path = tmp_path_factory.getbasetemp() / "damaged.npz"
  path.write_bytes(data.draw(damaged(small_npz(compressed))))
  assert outcome(formats.read_npz, path, "cifar10") is REFUSED


@fuzzed(
  60,
  header=st.one_of(
    TEXTS, st.sampled_from(("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", "{}", "{'descr': '|O'}", "(" * 300))
  ),
)
def test_headers_in_an_npz(header, tmp_path_factory, little_memory):
  path = tmp_path_factory.getbasetemp() / "header.npz"
  text = header.encode("latin1", "ignore") + b"\n"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("ops.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
  assert outcome(formats.read_npz, path, "cifar10") is REFUSED


@fuzzed(10, name=TEXTS, suffix=st.sampled_from((".npz", ".csv", ".jsonl", "")))
def test_any_path_of_a_table(name, suffix):
  path = f"/nowhere/{name}{suffix}"
  assert outcome(formats.read_npz, path, "cifar10") is REFUSED
  assert outcome(formats.read_rows, path) is REFUSED
  assert outcome(formats.write_npz, path, {"cifar10": PLANTED}) is REFUSED
  assert outcome(formats.write_npz, path, {}) is REFUSED and outcome(formats.write_npz, path, {name: PLANTED}) is REFUSED


ARCH = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
CELL = st.one_of(st.sampled_from(STRANGE), st.sampled_from((ARCH, "12", "200", "93.5", "1_0", "true", "0x10", '"')), ANYTHING)


@fuzzed(
  150,
  row=st.fixed_dictionaries({name: CELL for name in formats.COLUMNS}),
  extra=st.sampled_from((None, "valid", "more")),
  kind=st.sampled_from((".csv", ".jsonl")),
  data=st.data(),
)
def test_small_files_of_rows(row, extra, kind, data, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / f"rows{kind}"
  good = {"arch": ARCH, "epochs": "12", "valid": "80.5", "test": "", "seconds": "3"}
  row = good | {name: row[name] for name in data.draw(st.sets(st.sampled_from(formats.COLUMNS)))}
  if kind == ".csv":
    file = io.StringIO()
    csv.writer(file).writerows([[*row, *([extra] if extra else [])], [*row.values(), *(["7"] if extra == "more" else [])]])
    content = file.getvalue().encode("utf-8", "replace")
  else:
    content = (json.dumps(row, default=str, skipkeys=True) + "\n").encode()
  path.write_bytes(data.draw(damaged(content)))
  assert outcome(formats.read_rows, path) is REFUSED  # one architecture is not all of them


@functools.cache
def all_rows():
  return [
    {"arch": nasbench201.to_string(g), "epochs": 12, "valid": v, "test": v, "seconds": v}
    for g, v in zip(all_genotypes(), COLUMN.tolist(), strict=True)
  ]


@fuzzed(
  4,
  shrink=False,
  place=st.integers(0, ROWS - 1),
  field=st.sampled_from(formats.COLUMNS),
  value=st.sampled_from(("50", "nan", "1e999", True, None, "5_0", [50], "٥٠", 50, " 50 ")),
)
def test_files_of_all_rows(place, field, value, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "all.jsonl"
  rows = [*all_rows()]
  rows[place] = rows[place] | {field: value}
  path.write_text("\n".join(map(json.dumps, rows)))
  table = outcome(formats.read_rows, path)
  taken = field not in ("arch", "epochs") and value in ("50", 50, " 50 ")
  assert (table is not REFUSED) == taken
  assert table is REFUSED or [table.valid(12)[place], table.seconds(12)[place]].count(50) == (field in ("valid", "seconds"))


class Api:
  """Answers as nats_bench does, but for one answer."""

  def __init__(self, strange, place):
    self.strange, self.place = strange, place

  def __len__(self):
    return ROWS

  def __getitem__(self, index):
    return nasbench201.to_string(all_genotypes()[index])

  def get_more_info(self, index, dataset, *, is_random, hp):
    fields = ("valid-accuracy", "test-accuracy", "train-all-time", "valid-per-time")
    if index == self.place:
      return self.strange if not isinstance(self.strange, tuple) else dict.fromkeys(fields, self.strange[0])
    return dict.fromkeys(fields, 50.0)


@fuzzed(
  5,
  shrink=False,
  strange=st.one_of(st.tuples(st.one_of(NUMBERS, ANYTHING)), ANYTHING),
  place=st.sampled_from((0, 7)),
  dataset=st.sampled_from((*formats.DATASETS, "no")),
)
def test_answers_of_an_api(strange, place, dataset):
  table = outcome(formats.from_api, Api(strange, place), dataset)
  if table is not REFUSED:
    assert table.valid(12)[place] == float(strange[0]) and table.seconds(200)[place] == pytest.approx(2 * float(strange[0]))


# Zero-cost proxies.


@functools.cache
def network(seed):
  genotype = nasbench201.from_string("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
  config = derived_image.Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
  return functional.split(derived_image.DerivedImageNetwork(config, genotype, (8, 8, 1), 2, keys.generator(seed, "weights")))


@pytest.mark.parametrize("name", list(zero_cost.PROXIES))
def test_every_registered_proxy_scores_any_images(name):
  @fuzzed(
    3,
    shrink=False,
    kind=st.sampled_from(("pairs", "black", "alike", "huge", "noise")),
    number=st.sampled_from((2, 4)),
    seed=st.integers(0, 1),
  )
  def score(kind, number, seed):
    images = np.random.default_rng(seed).normal(size=(number, 8, 8, 1)).astype(np.float32)
    images *= {"black": 0, "huge": 1e6}.get(kind, 1)
    images = images[[0] * number] if kind == "alike" else images[[index // 2 for index in range(number)]] if kind == "pairs" else images
    first, second = (zero_cost.PROXIES[name](*network(seed), jnp.asarray(images)) for _ in range(2))
    assert isinstance(first, float) and first == second and not math.isnan(first) and first < math.inf

  score()
