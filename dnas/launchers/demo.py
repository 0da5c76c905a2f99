"""Demonstrates the whole workflow on real data: searches, draws the cell, says how good the cell is, retrains it and tests it once.

  dnas demo --workdir=runs/demo
  dnas demo --search=text_demo --workdir=runs/demo_text

--search names the preset of the search, and the preset of that name with _retrain trains the found cell. For digits_bench every
architecture of the space was trained beforehand. So the found cell is ranked among all of them, beside random search at the same cost. For
another preset random cells are trained like the found cell. Every run has a folder of its own in --workdir. The same command again
resumes. The demonstration reports the result, also if random search wins.
"""

import concurrent.futures
import dataclasses
import pathlib
import subprocess
import sys

import numpy as np

from dnas.core import config as config_lib
from dnas.core.config import check, check_at_most, check_name, check_types
from dnas.core.errors import InputError
from dnas.core.paths import expanded
from dnas.core.records import SearchResult
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import report_shares, report_test
from dnas.launchers import _flags, _presets, _units, search, train
from dnas.launchers._comparison_settings import BENCHMARK
from dnas.launchers.train import Outcome, outcome_of, result_of
from dnas.report import statistics


@dataclasses.dataclass(frozen=True)
class DemoConfig:
  """The settings of a demonstration.

  Attributes:
    search: preset of the search, such as digits_bench or digits_demo (images) or text_demo (text). The preset of that name with _retrain
      retrains.
    random_cells: number of random cells that are retrained for comparison; unused with digits_bench, whose table ranks the found cell.
  """

  search: str = "digits_bench"
  random_cells: int = 4

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    ranked = path == "random_cells" and self.search == BENCHMARK
    return f"the table of {BENCHMARK} ranks the found cell, so leave it out, or choose another --search" if ranked else ""

  def __post_init__(self):
    check_types(self)
    pairs = [name for name in _presets.names() if f"{name}_retrain" in _presets.names()]
    check_name("search", self.search, pairs)
    check_at_most(1000, random_cells=self.random_cells)
    check(self.random_cells >= 2, "random_cells", self.random_cells, "a spread needs at least 2")


def run(config: DemoConfig, options: _flags.Options, given: set[str]) -> None:
  """Searches, and says how good the found cell is: among all architectures if a table knows them, else among random cells."""
  _flags.refuse_idle(config, given)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir)
  preset = _presets.load(config.search, "search")
  by = f"{preset.method}, hypergradient {preset.hypergradient_name}"
  print(f"1. Search by {by}, on {preset.data.dataset} (preset {config.search})\n", flush=True)
  (found,) = search.run(preset, dataclasses.replace(options, preset=config.search, workdir=str(root / "search")), set())
  if config.search == BENCHMARK:
    print(f"\n2. Rank: every architecture of this space was trained beforehand (docs/results/{BENCHMARK}.md)\n{rank(found)}")
    print(f"\n3. Retraining of the found cell on all training data, and the test ({config.search}_retrain)\n", flush=True)
    changes = {"genotype": str(root / "search")}
    own = dataclasses.replace(options, preset="", workdir=str(root / "found"))
    train.run(config_lib.replace(_presets.load(f"{config.search}_retrain", "train"), changes), own, set())
  else:
    print(f"\n2. Retraining: the found and {config.random_cells} random cells, two at a time ({config.search}_retrain)\n", flush=True)
    print(report(_retrained(config, options, root)))
  print(f"\nlook at {root / 'search' / 'pictures'}: the cells drawn, the architecture weights over epochs, the learning curves")


def rank(found: SearchResult) -> str:
  """Returns where a found cell stands among all architectures of the benchmark, and where random search stands at the same cost.

  Random search trains each drawn architecture once, and keeps the one with the best validation accuracy. Its rank is the expectation over
  all draws.
  """
  table = digits_bench.load(seed=0)
  epochs = table.epochs[-1]
  shares, seconds = 100 * report_shares(table, epochs), float(table.seconds(epochs).mean())
  trainings = max(1, min(int(found.cost / seconds), len(shares)))
  chance = statistics.best_of(table.valid(epochs), shares, trainings)
  better = f"better than {shares[table.row(found.genotype)]:.0f} % of all {len(shares)} architectures"
  lines = [f"  found cell                 {better}, test accuracy {report_test(table, found.genotype, epochs):.2f} %"]
  beside = f"better than {chance:.0f} % on average, at the same cost of {found.cost:.0f} s"
  lines.append(f"  random search, {trainings:>3} cells   {beside}")
  return "\n".join([*lines, f"  (by test accuracy, the mean of three trainings of {epochs} epochs; one training takes {seconds:.2f} s)"])


def _retrained(config: DemoConfig, options: _flags.Options, root: pathlib.Path) -> dict[str, Outcome]:
  """Trains the found cell and random cells alike, two at a time. Returns the outcome of each by its name."""
  contestants = {"found": str(root / "search")} | {f"random {seed}": f"random:{seed}" for seed in range(config.random_cells)}
  with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
    jobs = {name: pool.submit(retrain, f"{config.search}_retrain", name, genotype, root, options) for name, genotype in contestants.items()}
  return {name: job.result() for name, job in jobs.items()}


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
  lines.append("  here the search " + ("beat" if found < chance.mean() else "did not beat") + " the mean of the random cells")
  return "\n".join(lines)


LAUNCHER = _flags.Launcher("demo", DemoConfig(), run, __doc__, option_names=_flags.options_without("preset"))
main = LAUNCHER.main
