"""A search in two stages, through the launcher: fewer operations, and on more of the channels."""

import json

import numpy as np
import pytest
from tiny_runs import launch, lines, refusal

DATA = ("--space=nasbench201", "--data.dataset=synthetic", "--data.batch_size=64", "--supernet.channels=4", "--supernet.cells=3")
FLAGS = (*DATA, "--method=drnas", "--darts.epochs=1", "--darts.diagnose_every=0", "--darts.arch_learning_rate=0.1")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
  folder = tmp_path_factory.mktemp("stages") / "first"
  assert launch("search", f"--workdir={folder}", *FLAGS, "--drnas.partial_channels=4") == 0
  return folder


def mixture(folder):
  return np.array(lines(folder / "architecture.jsonl")[-1]["mixture"]["cell"])


def strongest(mixture):
  """The two strongest operations of every edge."""
  return np.sort(np.argsort(-mixture, axis=1)[:, :2], axis=1).tolist()


def begins_where_it_ended(first, second):
  """Runs a second stage, and looks for the strongest operations of the first in it."""
  flags = (*FLAGS, "--drnas.partial_channels=2", f"--start_from={first}", "--keep_operations=2")
  assert launch("search", f"--workdir={second}", *flags) == 0
  kept, after = strongest(mixture(first)), mixture(second)
  assert (after > 0).sum(1).tolist() == [2] * 6 and strongest(after) == kept
  np.testing.assert_allclose(after.sum(1), 1, rtol=1e-5)
  assert json.loads((second / "config.json").read_text())["config"]["start_from"] == str(first)
  return kept


def test_a_second_stage_searches_the_strongest_operations(first, tmp_path):
  begins_where_it_ended(first, tmp_path / "second")


def test_a_second_stage_begins_with_one_of_several_searches(tmp_path):
  assert launch("search", f"--workdir={tmp_path / 'all'}", *FLAGS, "--drnas.partial_channels=4", "--num_seeds=2", "--seed=3") == 0
  kept = begins_where_it_ended(tmp_path / "all" / "seed_0004", tmp_path / "second")
  assert kept != strongest(mixture(tmp_path / "all" / "seed_0003"))


def test_a_stage_that_does_not_fit_is_refused(first, tmp_path, capsys):
  where = tmp_path / "w"
  wide = [flag.replace("channels=4", "channels=8") for flag in FLAGS]
  assert "its supernet is Config(channels=4" in refusal(capsys, "search", where, *wide, f"--start_from={first}")
  assert "its space is nasbench201; give this search the same" in refusal(capsys, "search", where, f"--start_from={first}")
  (tmp_path / "unfinished").mkdir()
  (tmp_path / "unfinished/config.json").write_text((first / "config.json").read_text())
  message = refusal(capsys, "search", where, *FLAGS, f"--start_from={tmp_path / 'unfinished'}")
  assert "give the folder of a finished search on images" in message
