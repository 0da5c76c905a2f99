"""Prints two tables: human-designed networks beside networks that a search found, on CIFAR-10 and on Penn Treebank.

  dnas tables --workdir=runs/tables
  dnas tables --run --scale=demo --workdir=runs/tables
  dnas tables --run --rows=nasnet_a,darts --seeds=10 --pool.workers=8 --pool.accelerators=1 --workdir=runs/tables

Every row is a network with its published result beside ours. Ours is the mean of the trainings in WORKDIR/SCALE/ROW/seed_0000, seed_0001
and so on; a row without trainings is 'not run'. --run trains what is missing by the recipe of the row's presets. The same command again
goes on. The tables go to WORKDIR/SCALE as Markdown, LaTeX, PNG and SVG.

--scale=published trains the published recipe on the published data: weeks on one GPU for all rows. --scale=demo trains the same networks,
shrunken, on the data in the package.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnas.cells import functional
from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.config import check_at_most, check_name, check_positive, check_types, named
from dnas.core.costs import Costs
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.paths import expanded
from dnas.launchers import _commands, _flags, _language, _logged, _trained, _units, train
from dnas.launchers._table_rows import CAPTIONS, ROWS, SCALES, Row, stages
from dnas.launchers.configs import ImageTrainConfig
from dnas.nets import costs
from dnas.report.runs import load_run
from dnas.report.table_picture import save_picture
from dnas.report.tables import Table
from dnas.run.loop import Stopped
from dnas.run.stop import StopRequest
from dnas.tune import executors


@dataclasses.dataclass(frozen=True)
class TablesConfig:
  """The settings of the tables.

  Attributes:
    scale: what is trained and read, the published recipes or shrunken ones.
    run: whether the trainings that are missing are run.
    rows: the rows, with commas between them; empty for all.
    seeds: number of trainings of a row, with seeds 0, 1, 2, ...
  """

  scale: str = named("published", lambda: SCALES)
  run: bool = False
  rows: str = named("", lambda: ROWS)
  seeds: int = 1
  pool: executors.Config = dataclasses.field(default_factory=lambda: executors.Config(workers=0))

  def __post_init__(self):
    check_types(self)
    check_name("scale", self.scale, SCALES)
    for name in self.names:
      check_name("rows", name, ROWS)
    if len(set(self.names)) < len(self.names):
      raise FieldError("rows", self.rows, "a row is given twice; give each once")
    check_positive(seeds=self.seeds)
    check_at_most(1000, seeds=self.seeds)

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the rows."""
    return tuple(name.strip() for name in self.rows.split(",") if name.strip()) or tuple(ROWS)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    if not self.run and (path == "seeds" or path.startswith("pool.")):
      return "nothing is trained without --run, so leave it out, or give --run"
    return ""


def folders_of(root: pathlib.Path, row: Row, seed: int) -> list[pathlib.Path]:
  """Returns the folders of the stages of a training, in their order."""
  folder = root / f"seed_{seed:04d}"
  return [folder] if len(row.presets) == 1 else [folder / f"stage_{number}" for number in range(1, len(row.presets) + 1)]


def train_row(name: str, scale: str, seed: int, root: pathlib.Path, options: _flags.Options) -> None:
  """Trains all stages of a row with one seed, or resumes them."""
  row, before = ROWS[name], None
  for config, folder in zip(stages(row, scale, seed), folders_of(root, row, seed), strict=True):
    if before is not None:
      config = config_lib.replace(config, {"start_from": str(before)})
    _logged.run_final(config, dataclasses.replace(options, workdir=str(folder)))
    before = folder


@dataclasses.dataclass(frozen=True)
class Trainings:
  """The trainings of one row that have ended.

  Attributes:
    values: the test error in percent, or the test perplexity, of every training.
    costs: weights and multiply-adds of the network, in words; '-' for what an earlier version did not count.
    hours: hours that the trainings took together.
    measure: 'test error, %' or 'test perplexity'.
  """

  values: tuple[float, ...]
  costs: tuple[str, str]
  hours: float
  measure: str


_MAY_DIFFER = ("start_from", "data.data_dir", "data.eval_batch_size")
"""Fields in which a training may differ from its row: folders, and the evaluation batch size, which changes no result on images."""


def ended(root: pathlib.Path, row: Row, scale: str, seed: int) -> bool:
  """Returns whether the training of a row with a seed has ended. Raises InputError if its folders hold another finished training."""
  folders = folders_of(root, row, seed)
  for config, folder in zip(stages(row, scale, seed), folders, strict=True):
    if train.read_result(folder) is None:
      return False
    kept = {**config_lib.defaults(config), **load_run(folder).config}
    for path, value in config.recorded().items():
      if path not in _MAY_DIFFER and kept.get(path) != value:
        what = f"it holds a training with {path} {kept.get(path)}, and its row has {value}"
        raise InputError(f"{folder}: {what}; move it away, or give another --workdir.")
  return True


def _seconds(folder: pathlib.Path) -> float:
  """Returns the seconds that a training took. Raises InputError if its metrics lack them."""
  metrics = load_run(folder).metrics
  if not metrics or "seconds" not in metrics[-1]:
    raise InputError(f"{folder / 'metrics.jsonl'} has no last epoch with its seconds; give the file that the launcher wrote.")
  return float(metrics[-1]["seconds"])


def read(root: pathlib.Path, row: Row, scale: str) -> Trainings | None:
  """Returns the finished trainings of a row, or None if there is none. Raises InputError for a file that holds something else."""
  values, counts, seconds, measure = [], ("", ""), 0.0, ""
  for seed in sorted(int(path.name.removeprefix("seed_")) for path in root.glob("seed_[0-9][0-9][0-9][0-9]")):
    if not ended(root, row, scale, seed):
      continue
    folders = folders_of(root, row, seed)
    result = train.result_of(folders[-1])
    outcome = train.outcome_of(result)
    values.append(outcome.value)
    adds, measure = result.get("multiply_adds"), outcome.measure
    counts = f"{result['weights']:,}", "-" if adds is None else f"{adds / 1e6:,.1f} M"
    seconds += sum(map(_seconds, folders))
  return Trainings(tuple(values), counts, seconds / 3600, measure) if values else None


def published_costs(row: Row) -> Costs:
  """Returns the costs of a row's network at its published size, on CIFAR-10 or Penn Treebank. Builds the network."""
  config = stages(row, "published", 0)[0]
  genotype = train.genotype_of(config)
  if isinstance(config, ImageTrainConfig):
    shape, module = (32, 32, 3), _trained.builder(config, genotype)((32, 32, 3), 10, np.random.default_rng(0))
    return costs.of_image(*functional.split(module), shape)  # pyright: ignore[reportArgumentType]  # an nnx module, by the protocol
  module: Any = _language.network_of(config, genotype, PTB_WORDS)
  return costs.of_word(*functional.split(module))


PTB_WORDS = 10_000
"""Words of the vocabulary of Penn Treebank."""


def table_of(table: str, rows: Mapping[str, Row], found: Mapping[str, Trainings], scale: str) -> Table:
  """Returns one of the two tables.

  Args:
    table: its name, 'cifar10' or 'ptb'.
    rows: its rows by name.
    found: the trainings of the rows that have any.
    scale: see `_table_rows.SCALES`.
  """
  measure = {"cifar10": "test error, %", "ptb": "test perplexity"}[table]
  about, ours = "published results, and ours by the published recipe", "ours"
  if scale == "demo":
    data = {"cifar10": "digits (1,797 images of 8x8 pixels)", "ptb": "python_docs (Python's documentation)"}[table]
    about, ours = f"published results, and ours of shrunken networks trained briefly on {data}", "ours, not comparable"
  header = ("network", "search", "evaluation", "weights, M", f"{measure}, published", f"{measure}, {ours}")
  header = (*header, "weights, ours", "multiply-adds, ours", "trainings", "hours")
  lines = []
  for name, row in rows.items():
    published = (row.name, row.search, row.evaluation or "-", row.weights, row.result)
    if name not in found:
      own = _counted(published_costs(row)) if scale == "published" else ("-", "-")
      lines.append((*published, "not run", *own, "0", "-"))
      continue
    trainings = found[name]
    spread = f" ± {np.std(trainings.values, ddof=1):.2f}" if len(trainings.values) > 1 else ""
    own = f"{np.mean(trainings.values):.2f}{spread}", *trainings.costs, str(len(trainings.values)), f"{trainings.hours:.2g}"
    lines.append((*published, *own))
  return Table(f"{CAPTIONS[table]}: {about}", header, tuple(lines))


def _counted(found: Costs) -> tuple[str, str]:
  return f"{found.weights:,}", f"{found.multiply_adds / 1e6:,.1f} M"


def run(config: TablesConfig, options: _flags.Options, given: set[str]) -> None:
  """Trains what is missing, if asked to, and writes and prints the tables."""
  _flags.refuse_idle(config, given)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir).absolute() / config.scale
  if config.run:
    _run_missing(config, options, root)
  found = {name: trainings for name in config.names if (trainings := read(root / name, ROWS[name], config.scale)) is not None}
  tables = []
  for name in CAPTIONS:
    rows = {row: ROWS[row] for row in config.names if ROWS[row].table == name}
    if rows:
      tables.append((name, table_of(name, rows, found, config.scale)))
  durable.make_folder(root)
  durable.write(root / "tables.md", "\n".join(table.to_markdown() for _, table in tables))
  durable.write(root / "tables.tex", "\n".join(table.to_latex() for _, table in tables))
  for name, table in tables:
    print(f"\n{table.to_markdown()}")
    save_picture(table, root / f"table_{name}")
  print("± is the standard deviation between trainings of different seeds. Hours are those of all trainings of a row together.")
  missing = [name for name in config.names if name not in found]
  if missing:
    command = {"run": "true", "scale": config.scale, "rows": ",".join(missing), "workdir": options.workdir}
    print(f"train the rows that were not run: {_commands.command('tables', command)}")
  print(f"tables: {root / 'tables.md'}")


def _run_missing(config: TablesConfig, options: _flags.Options, root: pathlib.Path) -> None:
  """Runs the trainings that have not ended. Before the first one starts, raises InputError as `ended` does."""
  pairs = [(name, seed) for seed in range(config.seeds) for name in config.names]
  left = [(name, seed) for name, seed in pairs if not ended(root / name, ROWS[name], config.scale, seed)]
  if len(left) < len(pairs):
    print(f"complete: {len(pairs) - len(left)} of {counted(len(pairs), 'training')}")
  if not left:
    return
  print(f"running {counted(len(left), 'training')} at scale {config.scale}; what they print: {root}/ROW/seed_*.log", flush=True)
  own = dataclasses.replace(options, preset="", profile_steps=())
  jobs = [(name, config.scale, seed, root / name, own) for name, seed in left]
  if config.pool.here(len(pairs)):
    for job in jobs:
      train_row(*job)
      _say(root, job[0], job[2])
    return
  with contextlib.ExitStack() as stack:
    executor = stack.enter_context(config.pool.open(functools.partial(_units.load, _units.to_import()), len(pairs)))
    stop = stack.enter_context(StopRequest(lambda text: print(text, flush=True)))
    for done in executors.run_all(executor, [(train_row, *job) for job in jobs]):
      if done is not None:
        _say(root, *left[done[0]])
      elif stop.requested:
        raise Stopped(f"stopped as requested; the same command goes on with the trainings in {root}.")


def _say(root: pathlib.Path, name: str, seed: int) -> None:
  """Prints the result of a training."""
  result = train.result_of(folders_of(root / name, ROWS[name], seed)[-1])
  outcome = train.outcome_of(result)
  print(f"  {name}, seed {seed}: {outcome.measure} {outcome.value:.2f}{outcome.unit}, {result['weights']:,} weights", flush=True)


LAUNCHER = _flags.Launcher("tables", TablesConfig(), run, __doc__, option_names=_flags.options_without("preset", "profile_steps"))
main = LAUNCHER.main
