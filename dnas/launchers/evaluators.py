"""Measures what every evaluator is worth: its rank correlation with full training, and its cost.

  dnas evaluators --preset=digits_bench_evaluators --workdir=runs/evaluators
  dnas evaluators --evaluators=tabular,random --architectures=200 --workdir=runs/partial

Draws architectures of a space whose full trainings are in a table, and evaluates each by every evaluator, from several seeds. Prints a
table, and writes it to WORKDIR/report as Markdown, CSV and JSON, with a picture of cost against correlation. What an evaluator returned is
in WORKDIR/EVALUATOR/seed_0000. The same command again goes on after a kill. So does a command with more architectures, seeds or evaluators.

The score by full training is read from the table. In the table digits_bench every architecture was trained from three seeds. There the
evaluator of a seed is compared with the mean over the other two, and so is a full training of this seed. The evaluator tabular is partial
training, from the learning curves of the table. Seconds are measured, so measure on a machine without other work.
"""

import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from dnas.core import config as config_lib
from dnas.core import durable, json_files
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.paths import expanded
from dnas.core.records import Evaluation, Proposal
from dnas.evaluate import base
from dnas.evaluate.tabular import Table
from dnas.evaluate.zero_cost import PROXIES
from dnas.launchers import _flags, _output, _run, _units
from dnas.launchers._comparison_settings import BENCHMARK, DATASETS, EVALUATORS, ComparisonSettings, read_table, training_parts
from dnas.launchers._evaluator_makers import BY_SEARCH, evaluator_names, idle_in_evaluator, maker_of
from dnas.launchers._evaluators import check_presets
from dnas.launchers._sampled import (
  BY_EPOCHS,
  FROM_PARENTS,
  Random,
  cell_folder,
  full_trainings,
  has_other_trainings,
  proposals_of,
  sampled,
)
from dnas.report import evaluators as report
from dnas.run.loop import Stopped
from dnas.run.run_folder import RunFolder
from dnas.run.stop import StopRequest
from dnas.search.blackbox import study
from dnas.tune import executors


@config_lib.mounts(EVALUATORS)
@dataclasses.dataclass(frozen=True)
class EvaluatorsConfig:
  """Which evaluators are measured, on which architectures, and the settings of every evaluator.

  Attributes:
    evaluators: names of evaluators, with commas between them; random gives random scores.
    architectures: number of architectures, drawn uniformly from the table without replacement.
    sample: seed of that draw.
    seeds: how often every evaluator is trained, with seeds 0, 1, 2, ...; all seeds have the same architectures.
    table: digits_bench for the table in the package; an npz file of NAS-Bench-201; or 'synthetic' for a planted table, with which nothing
      real is measured.
    dataset: data set of the table; digits_bench has only digits, and the planted table only cifar10.
    epochs: length in epochs of the full training in the table.
    budgets: lengths in epochs of partial trainings, by tabular and training; empty takes all that the table knows.
    training: preset of dnas train with the networks and data of evaluators that build every network, and with their training.
    search: preset of dnas search with the supernet and data of weight_sharing, hypernetwork and supernet.
    train_portion: fraction of the training data that trains the networks of --training; the rest validates them.
    resamples: bootstrap resamples of the architectures, for the intervals.
  """

  evaluators: str = named("tabular,random", lambda: _known())
  architectures: int = 100
  sample: int = 0
  seeds: int = 3
  table: str = BENCHMARK
  dataset: str = named("digits", lambda: DATASETS)
  epochs: int = 12
  budgets: tuple[int, ...] = ()
  training: str = ""
  search: str = ""
  train_portion: float = 0.5
  resamples: int = 1000
  pool: executors.Config = dataclasses.field(default_factory=executors.Config)

  def __post_init__(self):
    check_types(self)
    for name in self.names:
      check_name("evaluators", name, _known())
    if len(set(self.names)) < len(self.names):
      raise FieldError("evaluators", self.evaluators, "an evaluator is given twice; give each once")
    check_name("dataset", self.dataset, DATASETS)
    check_not_negative(sample=self.sample)
    check_positive(seeds=self.seeds, epochs=self.epochs, resamples=self.resamples)
    check(self.architectures >= 2, "architectures", self.architectures, "a rank correlation needs at least 2")
    check_at_most(1000, seeds=self.seeds)
    check_at_most(10**5, resamples=self.resamples)
    check(all(epochs > 0 for epochs in self.budgets), "budgets", self.budgets, "give numbers of epochs above zero")
    check_fraction(train_portion=self.train_portion)

  @property
  def names(self) -> tuple[str, ...]:
    """The evaluators, in the order in which they were named."""
    return tuple(name.strip() for name in self.evaluators.split(","))

  def settings(self, evaluator: str) -> ComparisonSettings:
    """Returns the settings that one evaluator reads."""
    shared = {name: getattr(self, name) for name in ("table", "dataset", "epochs", "training", "search", "train_portion")}
    return ComparisonSettings(evaluator=evaluator, **shared)

  def lengths(self, evaluator: str) -> tuple[int, ...]:
    """Returns the numbers of epochs that an evaluator is asked for, ascending; the last is a full training."""
    if evaluator == "training":
      full = training_parts(self.settings(evaluator)).train.epochs
      return tuple(sorted({epochs for epochs in self.budgets if epochs < full} | {full}))
    known = [epochs for epochs in self.table_of().epochs if epochs <= self.epochs]
    return tuple(sorted({*(self.budgets or known), self.epochs}))

  def table_of(self) -> Table:
    """Returns the table. Raises InputError if there is none."""
    return read_table(self.table, self.dataset)

  def of_cell(self, evaluator: str, seed: int) -> dict[str, object]:
    """Returns all settings on which the score of an architecture depends, by flag."""
    common = {name: getattr(self, name) for name in ("table", "dataset", "epochs", "training", "search", "train_portion")}
    parts = config_lib.flatten(getattr(self, evaluator)) if evaluator in config_lib.units(self, EVALUATORS) else {}
    return {"evaluator": evaluator, "seed": seed, **common, **{f"{evaluator}.{path}": value for path, value in parts.items()}}

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component = path.partition(".")[0]
    networks = ("training", *FROM_PARENTS, *PROXIES)
    needs = {"budgets": BY_EPOCHS, "training": networks, "train_portion": networks, "search": BY_SEARCH}
    needs |= {name: (name,) for name in config_lib.units(self, EVALUATORS)}
    if component in needs and not set(needs[component]) & set(self.names):
      return f"it does nothing with --evaluators={self.evaluators}, so leave it out"
    return idle_in_evaluator(self, path)


def _known() -> tuple[str, ...]:
  return (*evaluator_names(), report.RANDOM)


def _check(config: EvaluatorsConfig) -> None:
  """Raises InputError for what the table lacks, and for presets that an evaluator cannot use."""
  table = config.table_of()
  table.valid(config.epochs)
  check_at_most(len(table.genotypes), architectures=config.architectures)
  for name in config.names:
    if name == report.RANDOM:
      continue
    check_presets(config.settings(name))
    if name == "tabular":
      for epochs in config.lengths(name):
        table.valid(epochs)
        hint = f"it is longer than a full training, {counted(config.epochs, 'epoch')}; lower it, or raise --epochs"
        check(epochs <= config.epochs, "budgets", epochs, hint)


def run_cell(config: EvaluatorsConfig, options: _flags.Options, evaluator: str, seed: int) -> None:
  """Evaluates all architectures by one evaluator of one seed, or those that are missing.

  Raises:
    InputError: if the folder holds evaluations with other settings.
  """
  path = cell_folder(pathlib.Path(options.workdir), evaluator, seed)
  with RunFolder.open(path, "evaluators", config.of_cell(evaluator, seed), defaults=config_lib.defaults(config)) as folder:
    if _is_complete(config, path, evaluator):
      return
    with _output.to_log(path / "log.txt"):
      evaluate = _made(config, options, path, evaluator, seed)
      if isinstance(evaluate, base.TrainedOnce):
        evaluate.settle()  # the training is reported by itself
        evaluate(_proposals(config, evaluator)[0])  # compiles
      done = _journal(config, path)
      missing = [proposal for proposal in _proposals(config, evaluator) if proposal not in done]
      durable.write(path / "journal.jsonl", "".join(study.to_line(entry) for entry in done.items()))  # without a torn line
      with durable.Lines(path / "journal.jsonl") as lines:
        for proposal in missing:
          lines.write(study.to_line((proposal, evaluate(proposal))))
    of_training = isinstance(evaluate, base.TrainedOnce)
    seconds = {name: getattr(evaluate, of) if of_training else 0.0 for name, of in (("shared", "seconds"), ("compilation", "compilation"))}
    folder.write_result({"evaluator": evaluator, "seed": seed, **seconds})


def _made(config: EvaluatorsConfig, options: _flags.Options, folder: pathlib.Path, evaluator: str, seed: int) -> base.Evaluator:
  if evaluator == report.RANDOM:
    return Random(seed)
  return maker_of(config, evaluator)(config.settings(evaluator), options, folder / "trained" / f"seed_{seed:04d}", seed)


def _journal(config: EvaluatorsConfig, folder: pathlib.Path) -> dict[Proposal, Evaluation]:
  """Returns what a folder's journal holds. A line that a kill left incomplete is left out."""
  path = folder / "journal.jsonl"
  text = json_files.read_text(path, "delete it, and the evaluations start anew", "backslashreplace") if path.exists() else ""
  return dict(study.from_lines(text, config.table_of().space, str(path)))


def _is_complete(config: EvaluatorsConfig, folder: pathlib.Path, evaluator: str) -> bool:
  done = _journal(config, folder)
  return _shared_seconds(folder) is not None and all(proposal in done for proposal in _proposals(config, evaluator))


def _proposals(config: EvaluatorsConfig, evaluator: str) -> list[Proposal]:
  table = config.table_of()
  epochs = config.lengths(evaluator) if evaluator in BY_EPOCHS else ()
  return proposals_of(evaluator, table.space, sampled(table, config.architectures, config.sample), epochs)


def _shared_seconds(folder: pathlib.Path) -> float | None:
  """Returns the seconds of the training that all evaluations share, or None if they have not all been made."""
  result = json_files.read_result(folder, {"shared": json_files.NUMBER})
  return None if result is None else float(result["shared"])


def evaluated(config: EvaluatorsConfig, root: pathlib.Path, evaluator: str) -> list[report.Evaluated]:
  """Returns the scores of one evaluator, which are all there: those of each length of training, where it has several."""
  found: dict[int | None, list[Any]] = {}
  shared = []
  for seed in range(config.seeds):
    folder = cell_folder(root, evaluator, seed)
    done = _journal(config, folder)
    shared.append(_shared_seconds(folder) or 0.0)
    by_budget: dict[int | None, list[Evaluation]] = {}
    for proposal in _proposals(config, evaluator):
      by_budget.setdefault(proposal.budget, []).append(done[proposal])
    for budget, each in by_budget.items():
      found.setdefault(budget, []).append(each)
  if evaluator == "tabular" and not has_other_trainings(config.settings(evaluator)):
    found.pop(config.epochs)  # it is what the others are compared with
  out = []
  for budget, seeds in found.items():
    scores, seconds = (np.array([[getattr(one, field) for one in each] for each in seeds]) for field in ("score", "cost"))
    name, kind = _called(config, evaluator, budget)
    out.append(report.Evaluated(name, kind, scores, seconds, np.array(shared)))
  return out


def _called(config: EvaluatorsConfig, evaluator: str, budget: int | None) -> tuple[str, str]:
  """Returns what an evaluator with a budget is called, and its kind."""
  if budget is None:
    return evaluator, evaluator
  if evaluator != "tabular":
    return f"{evaluator}, {counted(budget, 'epoch')}", evaluator
  if budget == config.epochs:
    return "full training, another seed", "full training, another seed"
  return f"partial training, {counted(budget, 'epoch')}", "partial training"


def measure(config: EvaluatorsConfig, root: pathlib.Path) -> tuple[list[report.Row], report.Sample]:
  """Returns what every evaluator is worth, from its evaluations, which are all there."""
  table = config.table_of()
  rows = [table.row(genotype) for genotype in sampled(table, config.architectures, config.sample)]
  full = np.stack([full_trainings(config.settings("tabular"), seed)[rows] for seed in range(config.seeds)])
  sample = report.Sample(full, float(table.seconds(config.epochs)[rows].mean()), config.resamples)
  return report.measure([one for name in config.names for one in evaluated(config, root, name)], sample), sample


def run(config: EvaluatorsConfig, options: _flags.Options, given: set[str]) -> list[report.Row]:
  """Makes the evaluations that are missing, and reports all. Returns the rows of the report."""
  _flags.refuse_idle(config, given)
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir).absolute()
  if (root / "config.json").exists():
    raise InputError(f"--workdir {root} holds 'config.json', so it is the folder of a run; give a new one, or that of such a measurement.")
  _check(config)
  own = dataclasses.replace(options, workdir=str(root), preset="")
  cells = [(name, seed) for seed in range(config.seeds) for name in config.names]
  for cell in cells:
    path = cell_folder(root, *cell)
    if (path / "config.json").exists():  # raises if it is of other settings
      RunFolder.open(path, "evaluators", config.of_cell(*cell), defaults=config_lib.defaults(config)).close()
  missing = [cell for cell in cells if not _is_complete(config, cell_folder(root, *cell), cell[0])]
  if len(missing) < len(cells):
    print(f"complete: {len(cells) - len(missing)} of {counted(len(cells), 'evaluator and seed', 'evaluators and seeds')}")
  _run.prepare(own)
  _run_all(config, own, missing, len(cells))
  rows, sample = measure(config, root)
  _write(config, root / "report", rows, sample)
  return rows


def _run_all(config: EvaluatorsConfig, options: _flags.Options, cells: list[tuple[str, int]], jobs: int) -> None:
  """Runs the evaluators that are missing, one after another in this process or several at once; `jobs` counts the complete ones too."""
  if not cells or config.pool.here(jobs):
    for cell in cells:
      run_cell(config, options, *cell)
      print(f"  {cell[0]}, seed {cell[1]}: {counted(config.architectures, 'architecture')} evaluated", flush=True)
    return
  with contextlib.ExitStack() as stack:
    executor = stack.enter_context(config.pool.open(functools.partial(_units.load, _units.to_import()), jobs))
    stop = stack.enter_context(StopRequest(lambda text: print(text, flush=True)))
    for done in executors.run_all(executor, [(run_cell, config, options, *cell) for cell in cells]):
      if done is not None:
        name, seed = cells[done[0]]
        print(f"  {name}, seed {seed}: {counted(config.architectures, 'architecture')} evaluated", flush=True)
      elif stop.requested:
        raise Stopped(f"stopped as requested; the same command goes on with the evaluations in {options.workdir}.")


def _write(config: EvaluatorsConfig, folder: pathlib.Path, rows: list[report.Row], sample: report.Sample) -> None:
  durable.make_folder(folder)
  table = report.table_of(rows, sample, config.table)
  about = {"table": config.table, "dataset": config.dataset, "epochs": config.epochs, "sample": config.sample}
  report.save_numbers(rows, sample, folder, about)
  text = table.to_markdown()
  durable.write(folder / "evaluators.md", f"# What evaluators are worth\n\n{text}\n{_NOTES}\n\n![evaluators](evaluators.png)\n")
  print(f"\n{text}\n{_NOTES}\n")
  _output.drawn(lambda: report.save_picture(rows, folder))
  print(f"report: {folder / 'evaluators.md'}")


_NOTES = (
  "Intervals are bootstrap intervals of the mean over seeds, over architectures. The better half is that by full training. Top tenth: what "
  "share of an evaluator's best tenth is in the best tenth by full training; chance finds 10 %. Above parameters: by how much tau exceeds "
  "that of the number of weights. Costs are seconds per architecture, in percent of a full training; the last column adds the shared "
  "training, divided by the number of architectures."
)

LAUNCHER = _flags.Launcher("evaluators", EvaluatorsConfig(), run, __doc__)
main = LAUNCHER.main
