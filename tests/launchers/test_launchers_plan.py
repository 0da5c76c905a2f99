"""--dry_run: what a run would take, by the counts of the run itself; nothing is compiled, and no folder is made."""

import re

import pytest
from tiny_runs import DATA, TEXT_SEARCH, TEXT_TRAIN, TRAIN, launch

from dnas.core import memory
from dnas.launchers import train

SEARCH = (*DATA, "--supernet.channels=2", "--supernet.cells=1", "--darts.epochs=2", "--darts.diagnose_every=0")


def plan(capsys, *flags: str) -> tuple[list[str], dict[str, str]]:
  assert launch(*flags, "--dry_run") == 0
  first, *lines, last = capsys.readouterr().out.splitlines()
  assert first.startswith("dry run: ") and last == "nothing was written"
  rows = dict(line.split(": ", 1) for line in lines[-4:])
  assert list(rows) == ["steps", "weights", "multiply-adds", "memory"]
  return [first.removeprefix("dry run: "), *lines[:-4]], rows


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_search(capsys, tmp_path, monkeypatch, compilations, seeds):
  monkeypatch.chdir(tmp_path)
  with compilations() as compiled:
    about, rows = plan(capsys, "search", *SEARCH, f"--num_seeds={seeds}")
  assert about[0].startswith("search by darts (first_order) in the space darts_conv: 2 epochs of 8 steps") and len(about) == 3
  assert rows["steps"] == "16 in 2 epochs"
  assert rows["weights"] == ("7,474" if seeds == 1 else "7,474 in each of 2 supernets")
  assert f"{rows['weights'].split()[0]} weights" in about[2]
  assert re.fullmatch(r"\S+ [kMG] for the whole search, validations included and diagnoses not", rows["multiply-adds"])
  there = memory.shown_bytes(memory.available())
  assert rows["memory"].endswith(f"GB or more, by the shapes of its arrays; the device has {there}")
  assert list(tmp_path.iterdir()) == [] and not [line for line in compiled if "step" in line]


def test_two_seeds_take_twice_the_multiply_adds(capsys):
  one, two = (float(plan(capsys, "search", *SEARCH, f"--num_seeds={seeds}")[1]["multiply-adds"].split()[0]) for seeds in (1, 2))
  assert two == pytest.approx(2 * one, rel=1e-3)


def test_a_training_tells_what_its_result_would_hold(capsys):
  flags = ["train", *TRAIN, "--genotype=random:0"]
  about, rows = plan(capsys, *flags)
  result = train.parts_of(train.LAUNCHER.parse(flags)[0], force=False)[1].task.costs()
  adds = rows["multiply-adds"]
  assert about[0] == "training of random:0 in the space darts_conv: 1 epoch of 16 steps"
  assert rows["weights"] == f"{result.weights:,}" and adds.startswith(f"{result.multiply_adds / 1e3:.4g} k for one image, ")
  assert adds.endswith("for the whole training")


def test_text(capsys):
  about, rows = plan(capsys, "search", *TEXT_SEARCH)
  assert about[0].startswith("search by darts (first_order) in the space darts_recurrent") and "for one word" in rows["multiply-adds"]
  _, rows = plan(capsys, "train", *TEXT_TRAIN, "--genotype=random:0")
  assert "for one word" in rows["multiply-adds"] and rows["weights"] == "430"


def test_what_does_not_fit_is_refused_and_other_launchers_have_no_dry_run(capsys):
  assert launch("search", *SEARCH, "--supernet.channels=1000000", "--dry_run") == 2
  assert "memory or more" in capsys.readouterr().err
  assert launch("test", "--dry_run") == 2
  assert "--dry_run has no effect in dnas test" in capsys.readouterr().err
