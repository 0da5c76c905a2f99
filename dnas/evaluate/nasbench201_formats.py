"""File formats of the results of NAS-Bench-201: an npz of columns, a nats_bench API object, rows as CSV or JSON lines.

The npz has one row per architecture, in any order; `write_npz` writes what `read_npz` reads:

    op_names              (5,)    names of the operations
    ops                   (N, 6)  numbers into op_names; edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2
    c10_12_val            (N,)    validation accuracy after 12 epochs, percent; c10, c100 and in16 are the data sets
    c10_200_test          (N,)    test accuracy after 200 epochs, percent
    c10_200_time          (N,)    training seconds of all 200 epochs; E epochs without such a column take E/200 of them
    params                (N,)    weights of the network for CIFAR-10; a file may lack it
    flops                 (N,)    multiply-adds of one image of CIFAR-10; a file may lack it

`read_latencies` reads an npz of a user's own, with one column of latencies for every device.
"""

import csv
import errno
import inspect
import json
import math
import numbers
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO

import numpy as np

from dnas.cells import nasbench201
from dnas.core import durable
from dnas.core.errors import InputError, cause_of, counted, shown, unknown_name, unreadable
from dnas.core.genotype import Genotype
from dnas.evaluate.tabular import MOST_EPOCHS, Table, all_genotypes, numbers_of

DATASETS: Mapping[str, str] = {"cifar10": "c10", "cifar100": "c100", "imagenet16_120": "in16"}
"""Name of a data set to the prefix of its columns."""

_FULL = 200
_MOST_BYTES = 10**8
"""Size limit of one array. The largest array of a table, the operations as int64, has less than a hundredth of this."""


COSTS: Mapping[str, str] = {"weights": "params", "multiply_adds": "flops"}
"""Name of a cost to its column. The columns are counts, not millions, and are of the networks for CIFAR-10."""


def read_npz(path: str | os.PathLike[str], dataset: str) -> Table:
  """Reads the table of one data set. Rows are identified by their operations, not by their order. The table of CIFAR-10 has costs.

  Args:
    path: the file.
    dataset: one of `DATASETS`.

  Raises:
    InputError: if the file or the data set does not exist, or a column is missing or invalid.
  """
  name, prefix = f"{path} ({dataset})", _prefix(dataset)
  costs = COSTS if dataset == _COUNTED else {}
  own = ("ops", "op_names", *costs.values())
  columns = _arrays(path, name, lambda key: key in own or key.startswith(f"{prefix}_"), "the npz of NAS-Bench-201")
  for key in ("op_names", "ops", f"{prefix}_{_FULL}_time"):
    if key not in columns:
      raise InputError(f"{name}: column '{key}' is missing; the file has {', '.join(sorted(columns)) or 'no such columns'}.")
  valid, test, seconds = (_by_epochs(columns, prefix, kind) for kind in _KINDS)
  if not valid:
    raise InputError(f"{name}: column '{prefix}_12_val' is missing, as are all columns of validation accuracy; give at least one.")
  genotypes = _genotypes(name, columns["op_names"], columns["ops"])
  full = numbers_of(f"{name}: {prefix}_{_FULL}_time", seconds[_FULL])
  shares = {epochs: seconds.get(epochs, full * (epochs / _FULL)) for epochs in valid}
  return Table(name, genotypes, valid, test, shares, costs={cost: columns[key] for cost, key in costs.items() if key in columns})


_COUNTED = "cifar10"

LATENCY = "latency/"
"""Begins the name of the latency of a network: latency/COLUMN."""


def read_latencies(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads an npz of latencies: a column for every device, [rows], in the order of the rows of a table. Returns 'latency/COLUMN' to column.

  Raises:
    InputError: if the file does not exist, or is not such an npz. `Table.with_costs` checks the columns.
  """
  columns = _arrays(path, str(path), lambda key: True, "an npz with a column of latencies for every device")
  if not columns:
    raise InputError(f"{path} has no columns; give an npz with a column of latencies for every device.")
  return {f"{LATENCY}{name}": column for name, column in columns.items()}


def _arrays(path: str | os.PathLike[str], name: str, wanted: Callable[[str], bool], what: str) -> dict[str, np.ndarray]:
  """Returns the wanted arrays of an npz. Raises InputError, which asks for `what`, if it cannot be read."""
  try:
    with open(path, "rb") as opened, zipfile.ZipFile(opened) as archive:
      keys = [key for key in (file.removesuffix(".npy") for file in archive.namelist()) if wanted(key)]
      for key in keys:
        _check_size(name, archive, key)
      opened.seek(0)
      with np.load(opened, allow_pickle=False) as file:
        return {key: file[key] for key in keys}
  except InputError:
    raise
  except FileNotFoundError:
    raise InputError(f"{path} does not exist; give {what}.") from None
  except Exception as e:  # a damaged archive can raise anything
    if isinstance(e, OSError) and e.errno not in (None, errno.EISDIR, errno.EINVAL):
      raise unreadable(path, e) from None
    raise InputError(f"{path} is not an npz of plain arrays ({shown(str(e))}); give {what}.") from None


def _check_size(name: str, archive: zipfile.ZipFile, key: str) -> None:
  """Raises InputError for an array whose header claims more than `_MOST_BYTES`, before it is loaded."""
  with archive.open(f"{key}.npy") as file:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
  if math.prod(shape) * dtype.itemsize > _MOST_BYTES:
    raise InputError(f"{name}: column '{key}' is {dtype} of shape {shape}; a table has {len(all_genotypes()):,} rows.")


_KINDS = ("val", "test", "time")


def _by_epochs(columns: Mapping[str, np.ndarray], prefix: str, kind: str) -> dict[int, np.ndarray]:
  matches = {name: re.fullmatch(rf"{prefix}_([1-9][0-9]*)_{kind}", name) for name in columns}
  return {int(match[1]): columns[name] for name, match in matches.items() if match}


def write_npz(path: str | os.PathLike[str], tables: Mapping[str, Table]) -> None:
  """Writes tables, data set to table, as one npz that `read_npz` reads. Their rows must be in one order.

  Raises:
    InputError: if no table is given, their rows differ in order, a data set is unknown, a table has no training of 200 epochs, or the file
      cannot be written.
  """
  if not tables:
    raise InputError(f"{path}: no table is given; give at least one.")
  first = next(iter(tables.values()))
  columns: dict[str, Any] = {
    "op_names": np.array(nasbench201.SPACE.operations),
    "ops": np.array([nasbench201.SPACE.encode(genotype) for genotype in first.genotypes], np.uint8),
  }
  for dataset, table in tables.items():
    prefix = _prefix(dataset)
    if table.genotypes != first.genotypes:
      raise InputError(f"{table.name}: its rows are not in the order of {first.name}; write it to another file.")
    table.seconds(_FULL)
    for kind, values in zip(_KINDS, (table._valid, table._test, table._seconds), strict=True):
      columns |= {f"{prefix}_{epochs}_{kind}": column for epochs, column in values.items()}
    if dataset == _COUNTED:
      columns |= {key: table.costs[cost] for cost, key in COSTS.items() if cost in table.costs}
  try:
    durable.write_by(pathlib.Path(path), lambda file: np.savez_compressed(file, **columns))
  except (OSError, ValueError) as e:  # a path that no file can have is a ValueError
    raise InputError(f"{path} cannot be written ({cause_of(e)}); give another file.") from None


class NatsBench(Protocol):
  """The methods used of the API object of the packages nats_bench (`create(path, 'tss')`) and nas_201_api (`NASBench201API(path)`)."""

  def __len__(self) -> int:
    """Returns the number of architectures."""
    ...

  def __getitem__(self, index: int) -> str:
    """Returns the string of an architecture."""
    ...

  def get_more_info(self, index: int, dataset: str, *, is_random: bool, **training: Any) -> Mapping[str, float]:
    """Returns accuracies in percent and times in seconds; `hp='12'` or, in older versions, `use_12epochs_result=True` takes 12 epochs."""
    ...


_API_NAMES = {  # the names under which the API has validation accuracy and test accuracy
  "cifar10": ("cifar10-valid", "cifar10"),
  "cifar100": ("cifar100", "cifar100"),
  "imagenet16_120": ("ImageNet16-120", "ImageNet16-120"),
}


def from_api(api: NatsBench, dataset: str) -> Table:
  """Returns the table of an API object: means over its training seeds, at 12 and 200 epochs.

  Seconds are the API's own account of a simulated training: all training epochs and one validation. On CIFAR-10, validation accuracy is of
  networks trained on half of the training data, test accuracy of those trained on all, as in the papers.

  Args:
    api: the object; nothing else of its package is needed.
    dataset: one of `DATASETS`.

  Raises:
    InputError: if an architecture's string does not parse, or a number is missing or not finite.
  """
  _prefix(dataset)
  name = f"{type(api).__name__} ({dataset})"
  by_name = "hp" in inspect.signature(api.get_more_info).parameters
  searched, reported = _API_NAMES[dataset]
  valid, test, seconds = {}, {}, {}
  genotypes = [nasbench201.from_string(str(api[index]), f"{name}, architecture {index}") for index in range(len(api))]
  for epochs in (12, _FULL):
    training = {"hp": str(epochs)} if by_name else {"use_12epochs_result": epochs == 12}

    def column(of: str, *fields: str, training: Mapping[str, Any] = training) -> list[float]:
      answers = (api.get_more_info(index, of, is_random=False, **training) for index in range(len(genotypes)))
      return [_total(answer, fields, f"{name}, architecture {index}") for index, answer in enumerate(answers)]

    valid[epochs], test[epochs] = column(searched, "valid-accuracy"), column(reported, "test-accuracy")
    seconds[epochs] = column(searched, "train-all-time", "valid-per-time")
  return Table(name, genotypes, valid, test, seconds)


def _total(answer: Mapping[str, float], fields: Iterable[str], where: str) -> float:
  total = 0.0
  for field in fields:
    value = answer.get(field) if isinstance(answer, Mapping) else None
    if value is None:
      raise InputError(f"{where}: the API gives no '{field}'; load the benchmark file with all of its results.")
    total += _finite(value, f"{where}: {field}")
  return total


def _finite(value: Any, where: str) -> float:
  """Returns a number, or the number that a text spells, as a float. Raises InputError, which begins with `where`, unless it is finite."""
  if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
    value = float(value)
  try:
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
      return float(value)
  except OverflowError:
    pass
  raise InputError(f"{where} is {shown(value)}; it must be a number.")


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


COLUMNS = ("arch", "epochs", "valid", "test", "seconds")
"""Fields of a row: standard string, epochs, accuracies in percent (test may be empty), accelerator seconds of the whole training."""


def read_rows(path: str | os.PathLike[str]) -> Table:
  """Reads one data set from rows with the fields `COLUMNS`: a .csv with a header, or a .jsonl with one object per line, in any order.

  Raises:
    InputError: if the file does not exist, a field is missing or not a number, a string does not parse, a row is there twice, or an
      architecture lacks a row that others have.
  """
  path = pathlib.Path(path)
  cells: dict[str, dict[int, dict[Genotype, float]]] = {"valid": {}, "test": {}, "seconds": {}}
  genotypes: dict[str, Genotype] = {}
  for where, row in _rows(path):
    text, epochs = str(row["arch"]), _finite(row["epochs"], f"{where}: epochs")
    if epochs not in range(1, MOST_EPOCHS):
      raise InputError(f"{where}: epochs is {shown(row['epochs'])}; it must be a whole number above zero, below {MOST_EPOCHS:,}.")
    genotype = genotypes.get(text) or genotypes.setdefault(text, nasbench201.from_string(text, where))
    for field, by_epochs in cells.items():
      column = by_epochs.setdefault(int(epochs), {})
      if genotype in column:
        raise InputError(f"{where}: {text} is given twice for {int(epochs)} epochs; give it once.")
      if field != "test" or row["test"] not in ("", None):
        column[genotype] = _finite(row[field], f"{where}: {field}")
  order = tuple(dict.fromkeys(genotypes.values()))
  columns = {kind: {e: _column(f"{path}, {kind} at {e} epochs", c, order) for e, c in cells[kind].items() if c} for kind in cells}
  return Table(str(path), order, columns["valid"], columns["test"], columns["seconds"])


def _column(name: str, cells: Mapping[Genotype, float], order: Sequence[Genotype]) -> np.ndarray:
  for genotype in order:
    if genotype not in cells:
      raise InputError(f"{name}: {nasbench201.to_string(genotype)} has no row; give it one.")
  return np.array([cells[genotype] for genotype in order])


def _rows(path: pathlib.Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yields (place in the file, row) with all fields of `COLUMNS`."""
  if path.suffix not in (".csv", ".jsonl"):
    raise InputError(f"{path} is neither .csv nor .jsonl; name the file by its format.")
  try:
    with open(path, newline="", encoding="utf-8") as file:
      source = _table_rows(path, file) if path.suffix == ".csv" else enumerate(map(_json_row, file), start=1)
      for number, row in source:
        where = f"{path}, line {number}"
        for field in COLUMNS:
          if not isinstance(row, dict) or field not in row:
            raise InputError(f"{where}: field '{field}' is missing; the fields are {', '.join(COLUMNS)}.")
        yield where, row
  except FileNotFoundError:
    raise InputError(f"{path} does not exist; give the file of the rows.") from None
  except InputError:
    raise
  except (OSError, ValueError, RecursionError, csv.Error) as e:  # no UTF-8, no JSON, or a path that no file can have
    raise InputError(f"{path} cannot be read ({shown(str(e))}); correct that line.") from None


def _table_rows(path: pathlib.Path, file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
  """Yields (line in the file, row) for every row of a CSV file; each row has the columns of the header."""
  lines = csv.reader(file, strict=True)
  names = next(lines, [])
  if len(set(names)) < len(names):
    raise InputError(f"{path}: its header {shown(names)} has a column twice; name each column once.")
  for cells in filter(None, lines):
    if len(cells) != len(names):
      where = f"{path}, line {lines.line_num}"
      raise InputError(f"{where}: it has {counted(len(cells), 'cell')} and the header has {len(names)}; give both the same number.")
    yield lines.line_num, dict(zip(names, cells, strict=True))


def _json_row(line: str) -> Any:
  """Returns the value of a line of JSON. Raises ValueError if an object repeats a field."""

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
      raise ValueError(f"a field is given twice in {line.strip()}")
    return dict(pairs)

  return json.loads(line, object_pairs_hook=unique)


def _prefix(dataset: str) -> str:
  if dataset not in DATASETS:
    raise unknown_name("data set of NAS-Bench-201", dataset, DATASETS)
  return DATASETS[dataset]


def _genotypes(name: str, op_names: np.ndarray, ops: np.ndarray) -> list[Genotype]:
  """Returns the architecture of every row; `op_names` may be in an order of its own."""
  choices, num_edges = nasbench201.SPACE.choices, len(nasbench201.SPACE.edges)
  names = [str(operation) for operation in np.ravel(op_names)]
  if sorted(names) != sorted(choices):
    raise InputError(f"{name}: op_names is {shown(names)}; it must name {', '.join(choices)}, in any order.")
  if ops.ndim != 2 or ops.shape[1] != num_edges or ops.dtype.kind not in "iu" or not ((ops >= 0) & (ops < len(names))).all():
    raise InputError(f"{name}: ops is {ops.dtype} of shape {ops.shape}; it must be whole numbers from 0 to 4, [rows, {num_edges}].")
  places = np.array([choices.index(operation) for operation in names])[ops] @ len(choices) ** np.arange(num_edges)[::-1]
  return [all_genotypes()[place] for place in places.tolist()]  # the places follow the order of `all_genotypes`
