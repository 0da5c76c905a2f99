"""Makes the benchmark `digits_bench` anew, or checks it: every architecture of a small space, trained on the digits.

  dnas digits_bench --make --workdir=runs/digits_bench
  dnas digits_bench --check=20

--make trains all rows, one process on every core, and writes WORKDIR/digits_bench.npz. A group of rows is a file, so the same command goes
on after a kill. --check trains rows of the table in the package again, chosen at random, and compares them. On the machine of the making
they are equal bit for bit; elsewhere their mean accuracies lie within three standard deviations between seeds.
"""

import concurrent.futures
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import pathlib
import time

import numpy as np

from dnas.core import config as config_lib
from dnas.core import devices, durable, keys
from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.core.errors import InputError, counted
from dnas.core.paths import expanded
from dnas.data import base, datasets
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import all_genotypes
from dnas.launchers import _flags
from dnas.train import switched

GENOTYPES = all_genotypes(digits_bench.SPACE)


@dataclasses.dataclass(frozen=True)
class DigitsBenchConfig:
  """What is made or checked, and how a row is trained.

  Attributes:
    make: whether all rows are made.
    check: how many rows of the table in the package are trained again.
    seeds: trainings of every architecture.
    group: rows in one file of the making.
    rows: how many rows are made, from the first on; 0 for all.
    processes: how many processes train, each on one core; 0 for all cores that this process may use.
  """

  make: bool = False
  check: int = 0
  seeds: int = 3
  group: int = 9
  rows: int = 0
  processes: int = 0
  training: switched.Config = digits_bench.TRAINING
  data: base.Config = digits_bench.DATA

  def __post_init__(self):
    check_types(self)
    check_positive(seeds=self.seeds, group=self.group)
    check_not_negative(check=self.check, rows=self.rows, processes=self.processes)
    check_at_most(100, seeds=self.seeds, processes=self.processes)
    check_at_most(len(GENOTYPES), check=self.check, group=self.group, rows=self.rows)


def run(config: DigitsBenchConfig, options: _flags.Options, given: set[str]) -> None:
  """Makes the table or checks it."""
  check(config.make != bool(config.check), "make", str(config.make).lower(), "give one of --make and --check=20")
  if config.make:
    _flags.require_workdir(options)
    path = make(config, expanded("--workdir", options.workdir))
    print(f"table: {path}, {path.stat().st_size:,} bytes")
  else:
    changed = sorted(given - {"make", "check", "processes"})
    hint = "--check trains as the table in the package was made, so leave it out"
    check(not changed, changed[0] if changed else "", "given", hint)
    check(not options.workdir, "workdir", options.workdir, "--check writes nothing, so leave it out")
    print(_compared(config))


def make(config: DigitsBenchConfig, root: pathlib.Path) -> pathlib.Path:
  """Makes all groups of rows that are missing, by several processes, then the table of all. Returns its file.

  Raises:
    InputError: if the folder has rows of other settings.
  """
  durable.make_folder(root)
  settings = config_lib.flatten(dataclasses.replace(config, make=True, processes=0))
  text, path = json.dumps(settings, indent=2) + "\n", root / "settings.json"
  if path.exists() and path.read_text() != text:
    raise InputError(f"--workdir={root} holds rows that were made with other settings; give another folder.")
  durable.write(path, text)
  cores = devices.cores()
  number = config.processes or len(cores)
  with _pool(number) as pool:
    arguments = ((config, root, cores[index % len(cores)], index, number, os.getpid()) for index in range(number))
    for job in [pool.submit(_make_groups, *each) for each in arguments]:
      job.result()
  groups = [digits_bench.rows_with_test(path) for path in group_paths(config, root)]
  rows = {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}
  durable.write_by(root / digits_bench.FILE.name, functools.partial(np.savez_compressed, **rows))
  return root / digits_bench.FILE.name


def _pool(number: int) -> concurrent.futures.ProcessPoolExecutor:
  """Returns new Pythons in which XLA has one thread, so that bits do not depend on the number of cores."""
  os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
  return concurrent.futures.ProcessPoolExecutor(number, multiprocessing.get_context("spawn"))


def _make_groups(config: DigitsBenchConfig, root: pathlib.Path, core: int, index: int, number: int, parent: int) -> None:
  """Makes groups from the process's own start on, and goes round until all are there or the parent is gone."""
  make_rows, paths = _maker(config, core), group_paths(config, root)
  began, made = time.monotonic(), 0
  for place in range(len(paths)):
    which = (place + index * len(paths) // number) % len(paths)
    if paths[which].exists():
      continue
    if os.getppid() != parent:
      return
    rows = make_rows(chosen=GENOTYPES[: config.rows or None][which * config.group : (which + 1) * config.group])
    content = io.BytesIO()
    np.savez_compressed(content, **rows)
    durable.write(paths[which], content.getvalue(), shared=True)
    made, left = made + 1, sum(not path.exists() for path in paths)
    minutes = left * (time.monotonic() - began) / made / number / 60
    print(f"{len(paths) - left} of {len(paths)} groups of rows, {minutes:.0f} min to go", flush=True)


def _maker(config: DigitsBenchConfig, core: int) -> functools.partial:
  """Returns `digits_bench.make_rows` of a configuration, once it is compiled, for this process on one core."""
  devices.use_cores([core])
  dataset = datasets.from_config(config.data)
  training = switched.SwitchedTraining(config.training, config.data, dataset, config.seeds)
  test = base.open_test(dataset, "the rows of digits_bench, each once after its training")
  make_rows = functools.partial(digits_bench.make_rows, training, test=test)
  make_rows(GENOTYPES[:1])  # so that no row's seconds are those of a compilation
  return make_rows


def group_paths(config: DigitsBenchConfig, root: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files of the groups of rows."""
  count = -(-(config.rows or len(GENOTYPES)) // config.group)
  return [root / f"rows_{which:04d}.npz" for which in range(count)]


def _compared(config: DigitsBenchConfig) -> str:
  """Trains rows again, and says how they compare. Raises InputError if a mean accuracy is too far off."""
  numbers = np.sort(keys.generator(config.seeds, "rows to check").permutation(len(GENOTYPES))[: config.check])
  shipped = digits_bench.rows_with_test(digits_bench.FILE)
  with _pool(1) as pool:
    rows = pool.submit(_made, config, numbers, devices.cores()[0]).result()
  names = [name for name in shipped if name != digits_bench.MEASURED]
  equal = np.all([[np.array_equal(rows[name][row], shipped[name][number]) for row, number in enumerate(numbers)] for name in names], 0)
  far = ~within_spread(shipped["valid_correct"][..., -1], numbers, rows["valid_correct"][..., -1])
  if far.any():
    text = digits_bench.SPACE.notation(GENOTYPES[numbers[int(far.argmax())]])
    raise InputError(f"{far.sum()} of {counted(len(numbers), 'row')} are off by more than three standard deviations: {text} for one.")
  again = counted(len(numbers), "row")
  return f"{again} trained again: {equal.sum()} equal bit for bit, all within three standard deviations between seeds"


def _made(config: DigitsBenchConfig, numbers: np.ndarray, core: int) -> digits_bench.Rows:
  return _maker(config, core)(chosen=[GENOTYPES[number] for number in numbers])


def within_spread(shipped: np.ndarray, numbers: np.ndarray, found: np.ndarray) -> np.ndarray:
  """Returns which rows have a mean over seeds within three standard deviations of a single training.

  Args:
    shipped: what all rows have, [rows, seeds].
    numbers: which rows were made again, [R].
    found: what these have now, [R, seeds].

  Returns:
    bool [R]. The standard deviation is that of the row or the pooled one of all rows, whichever is larger.
  """
  variances = shipped.var(1, ddof=1)
  spread = np.sqrt(np.maximum(variances[numbers], variances.mean()))
  return np.abs(found.mean(1) - shipped[numbers].mean(1)) <= 3 * spread


LAUNCHER = _flags.Launcher("digits_bench", DigitsBenchConfig(), run, __doc__, option_names=("workdir",))
main = LAUNCHER.main
