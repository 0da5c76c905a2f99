"""What a bare machine can do: no package of an extra, and no tensorboardX. Whatever needs one of them says so in a sentence."""

import json
import subprocess
import sys

import pytest
from tiny_runs import DARTS, DATA, ENVIRONMENT, TRAIN, cache_flag

BLOCKED = ("datasets", "grain", "mlflow", "optuna", "ray", "sklearn", "sqlalchemy", "tensorboardX", "tensorflow_datasets", "wandb")
BARE = f"""
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in {BLOCKED}:
      raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Blocker())
"""
MAIN = "import json; from dnas.__main__ import main; print(json.dumps([main(['dnas', *line]) for line in json.loads(sys.argv[1])]))"


def bare(*lines: list[str]) -> tuple[list[int], str, str]:
  """Runs commands in one process that can import none of BLOCKED: their exit statuses, and what they print."""
  given = json.dumps([list(map(str, line)) for line in lines])
  done = subprocess.run([sys.executable, "-c", BARE + MAIN, given], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  *out, statuses = done.stdout.splitlines()
  return json.loads(statuses), "\n".join(out), done.stderr


@pytest.mark.versions
def test_a_bare_machine_searches_trains_and_tells_of_tensorboard(tmp_path):
  options = [cache_flag(), "--save_every_steps=0"]
  search = ["search", *DATA, "--supernet.channels=2", "--supernet.cells=1", *DARTS, "--darts.epochs=1", *options]
  train = ["train", *TRAIN, *options, f"--genotype={tmp_path}/search"]
  speed = ["speed", "--jobs=language_evaluate", "--warm=false"]
  speed += ["--cells=1", "--channels=2", "--batch=4", "--vocabulary=20", "--words=5", "--steps=2"]
  statuses, out, err = bare(
    [*search, f"--workdir={tmp_path}/search"],
    [*train, f"--workdir={tmp_path}/train"],
    [*speed, f"--workdir={tmp_path}/speed"],
    ["compare", "--table=synthetic", "--dataset=cifar10", "--methods=tpe", "--seeds=1", f"--workdir={tmp_path}/compare"],
    ["tune", "--preset=tune_digits_demo", f"--workdir={tmp_path}/tune"],
    ["compare", "--preset=digits_contest", f"--workdir={tmp_path}/contest"],
    [*search, f"--workdir={tmp_path}/told", "--metrics_to=wandb"],
    ["open", f"{tmp_path}/search", "--nobrowser"],
  )
  assert f"search by darts (first_order) in the space darts_conv: 1 epoch of 8 steps; results in {tmp_path}/search\nsynthetic: 256" in out
  assert statuses == [0, 0, 0, 2, 2, 2, 2, 0] and (tmp_path / "search" / "report.html").exists(), out + err
  assert out.count("tensorboardX is not installed; pip install tensorboardX") == 2 and not (tmp_path / "search" / "tensorboard").exists()
  assert json.loads((tmp_path / "train" / "result.json").read_text())["weights"] > 0
  lacking = [("strategy 'tpe'", "optuna", "tune"), ("dnas tune", "optuna", "tune"), ("a contest of tunings", "optuna", "tune")]
  told = "error: {} needs the package {}, which is not installed; it is of the extra '{}': pip install -e '.[{}]' in a checkout."
  assert err.splitlines() == [told.format(*line, line[-1]) for line in [*lacking, ("--metrics_to=wandb", "wandb", "wandb")]]
  assert not (tmp_path / "told").exists()
