"""The main job on real images: search, look, retrain, and compare with random cells trained alike.

  python -m experiments.demo --workdir=runs/demo

Runs the presets digits_demo and digits_demo_retrain as the launchers would, in folders of their own below --workdir. The same command
again resumes. Whether the found cell or a random one wins is reported as it comes out.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np

from dnas.core.config import check
from dnas.core.errors import InputError
from experiments import _flags, search


@dataclasses.dataclass(frozen=True)
class DemoConfig:
  """How the found cell is compared.

  Attributes:
    random_cells: how many random cells are retrained beside the found one.
  """

  random_cells: int = 4

  def __post_init__(self):
    check(self.random_cells >= 2, "random_cells", self.random_cells, "a spread needs at least 2")


def run(config: DemoConfig, options: _flags.Options, given: set[str]) -> None:
  """Searches, retrains the found and the random cells, and prints the comparison."""
  _flags.require_workdir(options)
  root = pathlib.Path(options.workdir).expanduser()
  print("1. Search: the DARTS supernet on scikit-learn's handwritten digits, first order\n", flush=True)
  search.run(_flags.load_preset("digits_demo", "search"), dataclasses.replace(options, workdir=str(root / "search")), set())
  print(f"\n2. Retraining on all training images: the found and {config.random_cells} random cells, two at a time\n", flush=True)
  contestants = {"found": str(root / "search")} | {f"random {seed}": f"random:{seed}" for seed in range(config.random_cells)}
  with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
    jobs = {name: pool.submit(retrain, name, genotype, root, options) for name, genotype in contestants.items()}
  errors = {name: job.result() for name, job in jobs.items()}
  print(report(errors))
  print(f"\nlook at {root / 'search' / 'pictures'}: the cells drawn, the architecture weights over epochs, the learning curves")


def retrain(name: str, genotype: str, root: pathlib.Path, options: _flags.Options) -> float:
  """Runs `experiments.train` in a process of its own, says when it is done, and returns the test error in percent.

  Raises:
    InputError: if it fails; the end of what it printed is in the message.
  """
  folder = root / name.replace(" ", "_")
  own = [f"--genotype={genotype}", f"--workdir={folder}", f"--compilation_cache={options.compilation_cache}"]
  command = [sys.executable, "-m", "experiments.train", "--preset=digits_demo_retrain", *own]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise InputError(f"the training in {folder} left with status {done.returncode} ({done.stderr.strip()[-300:]}); mend that and go on.")
  result = json.loads((folder / "result.json").read_text())
  error = 100 * (1 - result["test/accuracy"])
  print(f"  {name:<10}train loss {result['train/loss']:.3f}  test error {error:.2f} %  {result['weights']:,} weights  {folder}", flush=True)
  return error


def report(errors: dict[str, float]) -> str:
  """Returns the comparison of the found cell's test error, in percent, with those of the random ones."""
  chance = np.array([error for name, error in errors.items() if name != "found"])
  lines = ["", "test error, each network trained once, alike:"]
  lines += [f"  {name:<10}{error:6.2f} %" for name, error in errors.items()]
  lines.append(f"  random cells: mean {chance.mean():.2f} %, standard deviation {chance.std(ddof=1):.2f} %")
  better = int((chance > errors["found"]).sum())
  lines.append(f"  the found cell is better than {better} of {len(chance)} random cells")
  lines.append("  (one training each, on few images: this shows the machinery, and does not decide which is better)")
  return "\n".join(lines)


LAUNCHER = _flags.Launcher("demo", DemoConfig(), run, __doc__)
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
