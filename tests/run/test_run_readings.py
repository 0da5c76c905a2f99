"""The count of readings of a test set."""

import pytest

from dnas.core.errors import InputError
from dnas.run import readings


def test_every_reading_is_a_line_that_stays(tmp_path):
  assert readings.load(tmp_path) == [] and readings.told([]) == "test sets were read 0 times"
  for number, name in enumerate(("cifar10", "cifar10", "other in /data")):
    readings.add(tmp_path, name, {"accuracy": number / 4})
  found = readings.load(tmp_path)
  assert [line["numbers"]["accuracy"] for line in found] == [0.0, 0.25, 0.5] and all(line["date"] and line["command"] for line in found)
  assert readings.told(found) == "test sets were read 3 times: cifar10 2, other in /data 1"


def test_what_a_power_cut_leaves_is_no_reading_and_other_damage_is_told(tmp_path):
  readings.add(tmp_path, "digits", {"accuracy": 0.5})
  whole = (tmp_path / readings.FILE).read_text()
  (tmp_path / readings.FILE).write_text(whole + whole[:20])
  assert len(readings.load(tmp_path)) == 1
  readings.add(tmp_path, "digits", {"accuracy": 0.75})
  assert [line["numbers"]["accuracy"] for line in readings.load(tmp_path)] == [0.5, 0.75]
  (tmp_path / readings.FILE).write_text(whole + "no reading\n")
  with pytest.raises(InputError, match="line 2: not valid JSON"):
    readings.load(tmp_path)
