"""Demonstrates the whole workflow on real data: searches, draws the cell, retrains it, and compares it with random cells.

  dnas demo --workdir=runs/demo
  dnas demo --search=text_demo --workdir=runs/demo_text

--search names the preset of the search. The preset of that name with _retrain trains the found cell and the random cells, all alike. Every
run has a folder of its own in --workdir. The same command again resumes. The demonstration reports the result, also if random cells win.
"""

import concurrent.futures
import dataclasses
import pathlib
import subprocess
import sys

import numpy as np

from dnas.core.config import check, check_at_most, check_name, check_types
from dnas.core.errors import InputError
from dnas.core.paths import expanded
from dnas.launchers import _flags, _presets, _units, search
from dnas.launchers.train import Outcome, outcome_of, result_of


@dataclasses.dataclass(frozen=True)
class DemoConfig:
  """The settings of a demonstration.

  Attributes:
    search: preset of the search, such as digits_demo (images) or text_demo (text). The preset of that name with _retrain retrains.
    random_cells: number of random cells that are retrained for comparison.
  """

  search: str = "digits_demo"
  random_cells: int = 4

  def __post_init__(self):
    check_types(self)
    pairs = [name for name in _presets.names() if f"{name}_retrain" in _presets.names()]
    check_name("search", self.search, pairs)
    check_at_most(1000, random_cells=self.random_cells)
    check(self.random_cells >= 2, "random_cells", self.random_cells, "a spread needs at least 2")


def run(config: DemoConfig, options: _flags.Options, given: set[str]) -> None:
  """Searches, retrains the found and the random cells, and prints the comparison."""
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir)
  preset = _presets.load(config.search, "search")
  print(f"1. Search: the DARTS supernet on {preset.data.dataset}, {preset.hypergradient_name} ({config.search})\n", flush=True)
  search.run(preset, dataclasses.replace(options, preset=config.search, workdir=str(root / "search")), set())
  print(f"\n2. Retraining: the found and {config.random_cells} random cells, two at a time ({config.search}_retrain)\n", flush=True)
  contestants = {"found": str(root / "search")} | {f"random {seed}": f"random:{seed}" for seed in range(config.random_cells)}
  with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
    jobs = {name: pool.submit(retrain, f"{config.search}_retrain", name, genotype, root, options) for name, genotype in contestants.items()}
  print(report({name: job.result() for name, job in jobs.items()}))
  print(f"\nlook at {root / 'search' / 'pictures'}: the cells drawn, the architecture weights over epochs, the learning curves")


def retrain(preset: str, name: str, genotype: str, root: pathlib.Path, options: _flags.Options) -> Outcome:
  """Runs `dnas train` in a process of its own, says when it is done, and returns what it was judged by.

  Raises:
    InputError: if it fails; the end of what it printed is in the message.
  """
  folder = root / name.replace(" ", "_")
  own = [f"--genotype={genotype}", f"--workdir={folder}", f"--compilation_cache={options.compilation_cache}"]
  own += [f"--compilation_cache_gb={options.compilation_cache_gb}"]
  own += ["--force"] if options.force else []
  own += [f"--imports={','.join(_units.to_import())}"] if _units.to_import() else []
  command = [sys.executable, "-m", "dnas", "train", f"--preset={preset}", *own]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise InputError(f"the training in {folder} failed with status {done.returncode} ({done.stderr.strip()[-300:]}); correct that.")
  result = result_of(folder)
  outcome = outcome_of(result)
  figure = f"{outcome.measure} {outcome.value:.2f}{outcome.unit}"
  print(f"  {name:<10}train loss {result['train/loss']:.3f}  {figure}  {result['weights']:,} weights  {folder}", flush=True)
  return outcome


def report(outcomes: dict[str, Outcome]) -> str:
  """Returns the comparison of the found cell with the random ones."""
  measure, unit, found = outcomes["found"]
  chance = np.array([outcome.value for name, outcome in outcomes.items() if name != "found"])
  lines = ["", f"{measure}, each network trained once, alike:"]
  lines += [f"  {name:<10}{outcome.value:6.2f}{unit}" for name, outcome in outcomes.items()]
  lines.append(f"  random cells: mean {chance.mean():.2f}{unit}, standard deviation {chance.std(ddof=1):.2f}{unit}")
  lines.append(f"  the found cell is better than {int((chance > found).sum())} of {len(chance)} random cells")
  lines.append("  (one training each, on little data: this shows the machinery, and does not decide which is better)")
  return "\n".join(lines)


LAUNCHER = _flags.Launcher("demo", DemoConfig(), run, __doc__)
main = LAUNCHER.main
