"""Forms of NAS-Bench-201's results: each read back as the table it was written from, and bad files refused in one sentence."""

import csv
import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.core.errors import InputError
from dnas.evaluate import nasbench201_formats, synthetic_table
from dnas.evaluate.nasbench201_formats import COLUMNS, DATASETS, from_api, read_npz, read_rows, write_npz
from dnas.evaluate.tabular import Table, report_test

PLANTED = synthetic_table.planted()
STRINGS = [nasbench201.to_string(genotype) for genotype in PLANTED.genotypes]


def _assert_same(one: Table, other: Table, epochs: tuple[int, ...] = (12, 200)):
  assert one.epochs == other.epochs == epochs
  rows = [one.row(genotype) for genotype in other.genotypes]
  for each in epochs:
    np.testing.assert_allclose(one.valid(each)[rows], other.valid(each))
    np.testing.assert_allclose(one.seconds(each)[rows], other.seconds(each))
  for genotype in other.genotypes[::1000]:
    assert report_test(one, genotype) == pytest.approx(report_test(other, genotype))


def _npz(path: pathlib.Path, **changes: object) -> pathlib.Path:
  """Writes the documented columns, None leaving one out, as plain NumPy would."""
  columns = {
    "op_names": np.array(nasbench201.SPACE.operations),
    "ops": np.array([nasbench201.SPACE.encode(genotype) for genotype in PLANTED.genotypes], np.uint8),
    "c10_12_val": PLANTED.valid(12),
    "c10_200_val": PLANTED.valid(200),
    "c10_200_test": PLANTED._test[200],
    "c10_200_time": PLANTED.seconds(200),
    "params": np.zeros(15_625, np.int32),
  }
  np.savez(path, **{name: column for name, column in (columns | changes).items() if column is not None})
  return path


def test_npz(tmp_path: pathlib.Path):
  table = read_npz(_npz(tmp_path / "t.npz"), "cifar10")
  _assert_same(table, PLANTED)
  assert table.genotypes == PLANTED.genotypes and table.name == f"{tmp_path / 't.npz'} (cifar10)"


def test_npz_in_another_order_is_the_same_table(tmp_path: pathlib.Path):
  rows, names = np.random.default_rng(0).permutation(15_625), np.array([3, 1, 4, 0, 2])
  ops = np.array([nasbench201.SPACE.encode(genotype) for genotype in PLANTED.genotypes])
  changes = {"ops": np.argsort(names)[ops][rows].astype(np.uint8), "op_names": np.array(nasbench201.SPACE.operations)[names]}
  columns = {"c10_12_val": PLANTED.valid(12), "c10_200_val": PLANTED.valid(200), "c10_200_test": PLANTED._test[200]}
  columns |= {"c10_200_time": PLANTED.seconds(200)}
  path = _npz(tmp_path / "t.npz", **changes, **{name: column[rows] for name, column in columns.items()})
  _assert_same(read_npz(path, "cifar10"), PLANTED)


def test_written_tables_are_read_back(tmp_path: pathlib.Path):
  other = synthetic_table.planted(synthetic_table.Config(seed=1, epochs=(3, 50, 200)))
  write_npz(tmp_path / "t.npz", {"cifar100": PLANTED, "imagenet16_120": other})
  _assert_same(read_npz(tmp_path / "t.npz", "cifar100"), PLANTED)
  _assert_same(read_npz(tmp_path / "t.npz", "imagenet16_120"), other, (3, 50, 200))
  with pytest.raises(InputError, match=r"t.npz \(cifar10\): column 'c10_200_time' is missing"):
    read_npz(tmp_path / "t.npz", "cifar10")
  with pytest.raises(InputError, match="nowhere/t.npz cannot be written"):
    write_npz(tmp_path / "nowhere" / "t.npz", {"cifar10": PLANTED})
  with pytest.raises(InputError, match="no training of 200 epochs"):
    write_npz(tmp_path / "u.npz", {"cifar10": synthetic_table.planted(synthetic_table.Config(epochs=(1, 2)))})


OPS = np.zeros((15_625, 6), np.uint8)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"c10_200_time": None}, "column 'c10_200_time' is missing; the file has c10_12_val, c10_200_test"),
    ({"ops": None}, "column 'ops' is missing"),
    ({"op_names": None}, "column 'op_names' is missing"),
    ({"c10_12_val": None, "c10_200_val": None}, "column 'c10_12_val' is missing"),
    ({"op_names": np.array(["none", "skip", "a", "b", "c"])}, "it must name none, skip_connect"),
    ({"ops": OPS[:, :5]}, "ops is uint8 of shape (15625, 5)"),
    ({"ops": OPS.astype(float)}, "ops is float64"),
    ({"ops": OPS + 5}, "whole numbers from 0 to 4"),
    ({"ops": OPS}, "rows 0 and 1 are both |none~0|"),
    ({"ops": np.array([nasbench201.SPACE.encode(g) for g in PLANTED.genotypes[1:]])}, "1 of 15625 architectures are missing"),
    ({"c10_12_val": np.ones(7)}, "validation at 12 epochs has shape (7,)"),
    ({"c10_12_val": np.array([None] * 15_625)}, "is not an npz of plain arrays"),
    ({"c10_200_test": np.where(np.arange(15_625) == 9, np.nan, PLANTED.valid(200))}, f"test at 200 epochs is nan in row 9 ({STRINGS[9]})"),
  ],
)
def test_npz_that_are_refused(tmp_path: pathlib.Path, changes: Mapping[str, object], message: str):
  with pytest.raises(InputError) as error:
    read_npz(_npz(tmp_path / "t.npz", **changes), "cifar10")
  text = str(error.value)
  assert text.startswith(str(tmp_path / "t.npz")) and message in text and "\n" not in text


def test_files_that_are_no_npz(tmp_path: pathlib.Path):
  (tmp_path / "text.npz").write_text("not a zip")
  np.save(tmp_path / "array.npy", np.zeros(3))
  (tmp_path / "cut.npz").write_bytes(_npz(tmp_path / "t.npz").read_bytes()[:1000])
  for name in ("text.npz", "array.npy", "cut.npz", "."):
    with pytest.raises(InputError, match="is not an npz of plain arrays"):
      read_npz(tmp_path / name, "cifar10")
  with pytest.raises(InputError, match="none.npz does not exist"):
    read_npz(tmp_path / "none.npz", "cifar10")
  with pytest.raises(InputError, match="unknown data set of NAS-Bench-201 'cifar-10'. Did you mean 'cifar10'?"):
    read_npz(tmp_path / "t.npz", "cifar-10")


class _NatsBench:
  """Answers as the API of nats_bench does, from the planted table; a mean if is_random is False, and a seed's result otherwise."""

  def __init__(self, dataset: str, without: str = ""):
    self.dataset, self.without = dataset, without

  def __len__(self) -> int:
    return len(STRINGS)

  def __getitem__(self, index: int) -> str:
    return STRINGS[index]

  def answer(self, index: int, dataset: str, epochs: int, is_random: bool) -> dict[str, float]:
    """The fields of one training; those of other data sets, or of one seed, are wrong on purpose."""
    other = "cifar100" if self.dataset == "cifar100" else "ImageNet16-120"
    known = ("cifar10-valid", "cifar10") if self.dataset == "cifar10" else (other, other)
    out = {"train-all-time": PLANTED.seconds(epochs)[index] - 1.0, "valid-per-time": 1.0, "train-accuracy": 1.0}
    out["valid-accuracy"] = PLANTED.valid(epochs)[index] if dataset == known[0] and not is_random else 1.0
    out["test-accuracy"] = PLANTED._test[200][index] if dataset == known[1] and epochs == 200 and not is_random else 1.5
    return {name: value for name, value in out.items() if name != self.without}

  def get_more_info(self, index: int, dataset: str, iepoch: int | None = None, hp: str = "12", is_random: bool = True) -> dict[str, float]:
    """As in nats_bench."""
    assert isinstance(hp, str) and iepoch is None
    return self.answer(index, dataset, int(hp), is_random)


class _NasBench201(_NatsBench):
  """The API of nas_201_api, before NATS-Bench."""

  def get_more_info(self, index: int, dataset: str, iepoch: int | None = None, use_12epochs_result: bool = False, is_random: bool = True):
    """As in nas_201_api."""
    return self.answer(index, dataset, 12 if use_12epochs_result else 200, is_random)


@pytest.mark.parametrize("api, dataset", [*((_NatsBench, dataset) for dataset in DATASETS), (_NasBench201, "cifar10")])
def test_api_objects(api: Callable[[str], _NatsBench], dataset: str):
  _assert_same(from_api(api(dataset), dataset), PLANTED)


def test_api_objects_without_results_are_refused():
  with pytest.raises(InputError, match=r"_NatsBench \(cifar10\), architecture 0: the API gives no 'valid-per-time'"):
    from_api(_NatsBench("cifar10", without="valid-per-time"), "cifar10")


def _lines() -> Iterator[dict[str, object]]:
  order = np.random.default_rng(0).permutation(15_625).tolist()
  for epochs in (200, 12):
    valid, seconds = PLANTED.valid(epochs), PLANTED.seconds(epochs)
    for row in order:
      test = float(PLANTED._test[200][row]) if epochs == 200 else ""
      yield dict(zip(COLUMNS, (STRINGS[row], epochs, float(valid[row]), test, float(seconds[row])), strict=True))


def _write(path: pathlib.Path, lines: list[dict[str, object]]) -> pathlib.Path:
  with open(path, "w", newline="") as file:
    if path.suffix == ".csv":
      writer = csv.DictWriter(file, list(lines[0]))
      writer.writeheader()
      writer.writerows(lines)
    else:
      file.writelines(json.dumps(line) + "\n" for line in lines)
  return path


LINES = list(_lines())


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_rows(tmp_path: pathlib.Path, name: str):
  _assert_same(read_rows(_write(tmp_path / name, LINES)), PLANTED)


def _changed(number: int, lines: list[dict[str, object]] = LINES[:9], **changes: object) -> list[dict[str, object]]:
  return [line | changes if row == number else line for row, line in enumerate(lines)]


@pytest.mark.parametrize(
  "lines, message",
  [
    (LINES[1:], f"rows.jsonl, valid at 200 epochs: {LINES[0]['arch']} has no row; give it one"),
    ([line for line in LINES if line["arch"] != STRINGS[5]], f"1 of 15625 architectures are missing, for example {STRINGS[5]}"),
    ([*LINES[:9], LINES[3]], f"line 10: {LINES[3]['arch']} is given twice for 200 epochs"),
    (_changed(4, arch="|none~0|"), "line 5: '|none~0|' has 1 node"),
    (_changed(4, valid="high"), "line 5: valid is 'high'; it must be a number"),
    (_changed(4, epochs=None), "line 5: epochs is None; it must be a number"),
    (_changed(4, epochs=12.5), "line 5: epochs is 12.5; it must be a whole number above zero"),
    (_changed(4, epochs=float("nan")), "line 5: epochs is nan"),
    (_changed(4, arch=["|none~0|"]), "line 5: \"['|none~0|']\" has 1 node"),
    (_changed(4, LINES, valid=float("nan")), "line 5: valid is nan; it must be a number"),
    ([{"arch": STRINGS[0], "epochs": 12}], "line 1: field 'valid' is missing; the fields are arch, epochs, valid, test, seconds"),
    ([["a"]], "line 1: field 'arch' is missing"),
    ([], "15625 of 15625 architectures are missing"),
  ],
)
def test_rows_that_are_refused(tmp_path: pathlib.Path, lines: list[dict[str, object]], message: str):
  with pytest.raises(InputError) as error:
    read_rows(_write(tmp_path / "rows.jsonl", lines))
  text = str(error.value)
  assert text.startswith(str(tmp_path / "rows.jsonl")) and message in text and "\n" not in text


def test_files_that_are_no_rows(tmp_path: pathlib.Path):
  (tmp_path / "bad.jsonl").write_text('{"arch": \n')
  (tmp_path / "bad.csv").write_bytes(b"arch,epochs\n\xff\xfe")
  for name in ("bad.jsonl", "bad.csv"):
    with pytest.raises(InputError, match=f"{name} cannot be read"):
      read_rows(tmp_path / name)
  with pytest.raises(InputError, match="none.csv does not exist"):
    read_rows(tmp_path / "none.csv")
  with pytest.raises(InputError, match="rows.txt is neither .csv nor .jsonl"):
    read_rows(tmp_path / "rows.txt")


def test_npz_that_are_empty_or_declare_more_than_there_is(tmp_path: pathlib.Path):
  (tmp_path / "empty.npz").write_bytes(b"")
  with zipfile.ZipFile(tmp_path / "nothing.npz", "w"):
    pass
  header = io.BytesIO()
  np.lib.format.write_array_header_2_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
  with zipfile.ZipFile(_npz(tmp_path / "large.npz"), "a") as archive:
    archive.writestr("c10_13_val.npy", header.getvalue())
  for name, said in (
    ("empty.npz", "is not an npz of plain arrays ('File is not a zip file')"),
    ("nothing.npz", "column 'op_names' is missing; the file has no such columns"),
    ("large.npz", "column 'c10_13_val' is float64 of shape (1000000000000,); a table has 15,625 rows."),
  ):
    with pytest.raises(InputError) as error:
      read_npz(tmp_path / name, "cifar10")
    assert said in str(error.value) and str(error.value).startswith(str(tmp_path / name))


def test_an_npz_that_may_not_be_read_is_not_called_another_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  def fail(*_: object) -> None:
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(nasbench201_formats, "open", fail, raising=False)
  with pytest.raises(InputError, match=r"t.npz cannot be read \(permission denied\); correct that"):
    read_npz(_npz(tmp_path / "t.npz"), "cifar10")


ROW = ",".join(map(str, LINES[0].values()))


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a.csv", f"arch,epochs,valid,test,seconds,valid\n{ROW},7\n", "has a column twice; name each column once."),
    ("a.csv", f"arch,epochs,valid,test,seconds\n{ROW},7\n", "line 2: it has 6 cells and the header has 5; give both the same number."),
    ("a.csv", f"arch,epochs,valid,test,seconds\n\n{ROW},7\n", "line 3: it has 6 cells and the header has 5; give both the same number."),
    ("a.csv", f"arch,epochs,valid,test,seconds\n\n{STRINGS[0]},12,5_0,50,1\n", "line 3: valid is '5_0'; it must be a number."),
    ("a.csv", f"arch,epochs,valid,test,seconds\n{STRINGS[0]},12,50\n", "line 2: it has 3 cells and the header has 5"),
    ("a.csv", f"arch,epochs,valid,test,seconds\n{STRINGS[0]},12,5_0,50,1\n", "line 2: valid is '5_0'; it must be a number."),
    ("a.csv", f"arch,epochs,valid,test,seconds\n{STRINGS[0]},12,50,inf,1\n", "line 2: test is 'inf'; it must be a number."),
    ("a.jsonl", json.dumps(LINES[0])[:-1] + ', "valid": 7}', "cannot be read ('a field is given twice in "),
    ("a.jsonl", json.dumps(LINES[0] | {"valid": True}), "line 1: valid is True; it must be a number."),
    ("a.jsonl", json.dumps(LINES[0] | {"valid": 10**400}), "line 1: valid is 1000"),
    ("a.jsonl", '{"arch": 1e999, "epochs": 1e999}', "field 'valid' is missing"),
    ("a.jsonl", "[" * 100_000, "cannot be read ("),
    ("a.jsonl", f'{{"arch": {"9" * 5000}}}', "cannot be read ("),
  ],
)
def test_rows_that_would_be_misread(tmp_path: pathlib.Path, name: str, content: str, message: str):
  (tmp_path / name).write_text(content)
  with pytest.raises(InputError) as error:
    read_rows(tmp_path / name)
  assert message in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_paths_that_no_file_has(name: str):
  calls = (lambda: read_npz(name, "cifar10"), lambda: read_rows(f"{name}.csv"), lambda: write_npz(name, {"cifar10": PLANTED}))
  for call in calls:
    with pytest.raises(InputError) as error:
      call()
    assert str(error.value).isprintable()


def test_archives_that_are_damaged_inside(tmp_path: pathlib.Path):
  whole = _npz(tmp_path / "t.npz").read_bytes()
  header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }"
  damaged = (b"", whole[: len(whole) // 2], whole.replace(header % 15_625, b"(" * 30), whole.replace(b"\x93NUMPY", b"\x93NUMPX"))
  for content in damaged:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(InputError, match="t.npz is not an npz of plain arrays"):
      read_npz(tmp_path / "t.npz", "cifar10")
  for column in (np.full(15_625, "1"), np.full(15_625, 1j)):
    with pytest.raises(InputError, match=r"t.npz \(cifar10\): c10_200_time is not a column of numbers"):
      read_npz(_npz(tmp_path / "t.npz", c10_200_time=column), "cifar10")
  with pytest.raises(InputError, match="no table is given"):
    write_npz(tmp_path / "t.npz", {})


def test_a_column_with_another_name_for_its_epochs_replaces_none(tmp_path: pathlib.Path):
  table = read_npz(_npz(tmp_path / "t.npz", c10_0200_val=np.full(15_625, 50.0)), "cifar10")
  assert (table.valid(200) == PLANTED.valid(200)).all()


@pytest.mark.parametrize("answer", [None, [], {"valid-accuracy": None}, {"valid-accuracy": "high"}, {"valid-accuracy": float("nan")}])
def test_answers_of_an_api_that_are_none(answer: object, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(_NatsBench, "answer", lambda self, *_: answer)
  with pytest.raises(InputError, match=r"_NatsBench \(cifar10\), architecture 0: (the API gives no 'valid-accuracy'|valid-accuracy is )"):
    from_api(_NatsBench("cifar10"), "cifar10")
