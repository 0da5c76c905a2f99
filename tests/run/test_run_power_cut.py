"""Power cuts: a run goes on from all that the calls by which it wrote its folder may leave on disk, and ends in the same bits."""

import os
import pathlib
import random
import sys

import pytest
import recorded_calls
from run_toy import Toy, bits, launch

import dnas

TOY = pathlib.Path(__file__).with_name("run_toy.py")
CUTS, EPOCHS = 4, 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
  """Returns the folder of a run that was recorded, and the file of its calls."""
  if reason := recorded_calls.why_not():
    pytest.skip(reason)
  folder = tmp_path_factory.mktemp("recorded")
  root = pathlib.Path(dnas.__file__).parents[1]
  (folder / "run").mkdir()
  command = [sys.executable, str(TOY), str(folder / "run"), f"--epochs={EPOCHS}", "--save_every_steps=4"]
  recorded_calls.record(command, folder / "calls", os.environ | {"PYTHONPATH": str(root)})
  return folder


def files(folder):
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_outlasts_power_cuts(recorded, tmp_path):
  unbroken = bits(launch(tmp_path / "unbroken", Toy(epochs=EPOCHS)).state)
  disk = recorded_calls.Disk(recorded / "calls", recorded / "run")
  count = len(disk.changes)
  first = next(number for number, call in enumerate(disk.changes) if call[0].startswith("rename"))
  rng = random.Random(7)
  resumed = []
  for cut in sorted(rng.sample(range(first, count), CUTS)):
    while disk.played < cut:
      disk.play()
    for variant in recorded_calls.VARIANTS:
      folder = tmp_path / f"{cut}_{variant}"
      disk.rebuild(variant, folder)
      resumed.append(any(name.name.isdecimal() for name in (folder / "checkpoints").glob("*")))
      assert bits(launch(folder, Toy(epochs=EPOCHS)).state) == unbroken, (cut, variant)
      assert not list((folder / "checkpoints").glob("*.damaged"))
  assert sum(resumed) > CUTS, "there was something to go on from"


def test_every_file_of_a_run_is_synced_in_the_end(recorded, tmp_path):
  disk = recorded_calls.Disk(recorded / "calls", recorded / "run")
  while disk.played < len(disk.changes):
    disk.play()
  disk.rebuild("nothing", tmp_path / "run")
  kept, whole = files(tmp_path / "run"), files(recorded / "run")
  missing = {name for name in whole if kept.get(name) != whole[name]}
  assert all(name == ".lock" or name.startswith("tensorboard/") for name in missing), missing
  assert {"config.json", "metrics.jsonl", "architecture.jsonl", "genotype.json", "result.json", "genotypes/epoch_0003.json"} <= kept.keys()


def test_a_descriptor_is_free_once_its_close_has_begun(tmp_path):
  """Another thread opened it before the close was over."""

  def shown(path):
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'

  one, two = shown(tmp_path / "run" / "one"), shown(tmp_path / "run" / "two")
  calls = [
    f"1 openat(AT_FDCWD, {one}, O_WRONLY|O_CREAT, 0666) = 5",
    "1 close(5 <unfinished ...>",
    f"2 openat(AT_FDCWD, {two}, O_WRONLY|O_CREAT, 0666) = 5",
    "1 <... close resumed>) = 0",
    f"2 write(5, {shown('kept')}, 4) = 4",
    "2 fsync(5) = 0",
    "2 close(5) = 0",
  ]
  (tmp_path / "calls").write_text("\n".join(calls) + "\n")
  disk = recorded_calls.Disk(tmp_path / "calls", tmp_path / "run")
  while disk.played < len(disk.changes):
    disk.play()
  disk.rebuild("names", tmp_path / "left")
  assert files(tmp_path / "left") == {"one": b"", "two": b"kept"}
