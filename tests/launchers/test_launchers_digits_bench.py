"""Making rows of the benchmark: it goes on after a kill, to the same rows, and the shipped rows come out again."""

import dataclasses
import pathlib

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.evaluate import digits_bench
from dnas.launchers import digits_bench as launcher

SMALL = launcher.DigitsBenchConfig(
  make=True, seeds=2, group=1, rows=2, processes=1, training=dataclasses.replace(digits_bench.TRAINING, cells=1, epochs=2)
)


def test_a_making_that_lost_a_group_goes_on_to_the_same_rows(tmp_path: pathlib.Path):
  first = digits_bench.rows_with_test(launcher.make(SMALL, tmp_path))
  kept, lost = launcher.group_paths(SMALL, tmp_path)
  before = kept.read_bytes()
  lost.unlink()
  again = digits_bench.rows_with_test(launcher.make(SMALL, tmp_path))
  assert kept.read_bytes() == before and first["valid_correct"].shape == (2, 2, 2)
  assert {name for name in first if not np.array_equal(first[name], again[name])} <= {digits_bench.MEASURED}
  with pytest.raises(InputError, match="holds rows that were made with other settings; give another folder"):
    launcher.make(dataclasses.replace(SMALL, seeds=1), tmp_path)


def test_three_rows_come_out_again(capsys: pytest.CaptureFixture):
  assert launcher.main(["dnas digits_bench", "--check=3"]) == 0
  assert "3 rows trained again" in capsys.readouterr().out


def test_a_row_that_is_too_far_off_is_seen():
  shipped = np.array([[90, 92, 91], [50, 50, 50], [10, 30, 50]])
  numbers = np.array([0, 1, 2])
  assert launcher.within_spread(shipped, numbers, shipped + 20).all()
  np.testing.assert_array_equal(launcher.within_spread(shipped, numbers, shipped + 40), [False, False, True])


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ((), "--make is false; give one of --make and --check=20."),
    (("--make", "--check=2"), "--make is true; give one of"),
    (("--check=2", "--seeds=4"), "--seeds is given; --check trains as the table in the package was made"),
    (("--make",), "--workdir is empty"),
    (("--check=730",), "--check is 730"),
  ],
)
def test_bad_flags(flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture):
  assert launcher.main(["dnas digits_bench", *flags]) == 2
  assert message in capsys.readouterr().err
