"""A search in two stages, through the launcher: fewer operations, and on more of the channels."""

import functools
import json

import jax
import numpy as np
import pytest
from tiny_runs import launch, lines, refusal

from dnas.search.image_workload import ImageWorkload
from dnas.supernet import bilevel
from dnas.train import images

pytestmark = pytest.mark.xdist_group("evaluate_networks")
DATA = ("--space=nasbench201", "--data.dataset=synthetic", "--data.batch_size=64", "--supernet.channels=4", "--supernet.cells=3")
FLAGS = (*DATA, "--method=drnas", "--darts.epochs=1", "--darts.diagnose_every=0", "--darts.arch_learning_rate=0.1")
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False})


@pytest.fixture(scope="module")
def first(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    for module in (images, bilevel):
      patch.setattr(module, "network_jit", quick_jit)
    patch.setattr(ImageWorkload, "jit", staticmethod(quick_jit))
    folder = tmp_path_factory.mktemp("stages") / "first"
    assert launch("search", f"--workdir={folder}", *FLAGS, "--drnas.partial_channels=4") == 0
    yield folder


def test_a_second_stage_searches_the_strongest_operations_and_resumes(first, tmp_path):
  flags = (*FLAGS, "--drnas.partial_channels=2", f"--start_from={first}", "--keep_operations=2")
  assert launch("search", f"--workdir={tmp_path / 'second'}", *flags) == 0
  before = np.array(lines(first / "architecture.jsonl")[-1]["mixture"]["cell"])
  after = np.array(lines(tmp_path / "second/architecture.jsonl")[-1]["mixture"]["cell"])
  kept = np.sort(np.argsort(-before, axis=1)[:, :2], axis=1)
  assert (after > 0).sum(1).tolist() == [2] * 6 and np.sort(np.argsort(-after, axis=1)[:, :2], axis=1).tolist() == kept.tolist()
  np.testing.assert_allclose(after.sum(1), 1, rtol=1e-5)
  assert json.loads((tmp_path / "second/config.json").read_text())["config"]["start_from"] == str(first)


def test_a_stage_that_does_not_fit_is_refused(first, tmp_path, capsys):
  where = tmp_path / "w"
  wide = [flag.replace("channels=4", "channels=8") for flag in FLAGS]
  assert "its supernet is Config(channels=4" in refusal(capsys, "search", where, *wide, f"--start_from={first}")
  assert "its space is nasbench201; give this search the same" in refusal(capsys, "search", where, f"--start_from={first}")
  (tmp_path / "unfinished").mkdir()
  (tmp_path / "unfinished/config.json").write_text((first / "config.json").read_text())
  message = refusal(capsys, "search", where, *FLAGS, f"--start_from={tmp_path / 'unfinished'}")
  assert "give the folder of a search on images that has come to its end" in message
