"""Compares search methods at equal budget. Every search has a run folder of its own.

  dnas compare --preset=digits_bench_comparison --workdir=runs/compare
  dnas compare --preset=nasbench201_tabular --table=nb201.npz --workdir=runs/nasbench201
  dnas compare --preset=digits_comparison --workdir=runs/digits_compare
  dnas compare --preset=digits_contest --workdir=runs/contest
  dnas report --workdir=runs/compare

A method is a black-box strategy or a differentiable method. The folder of a search is WORKDIR/SPACE/EVALUATOR/METHOD/seed_0000. Its journal
lists every architecture that the search evaluated. Its result.json holds the architecture that the search found, and its log.txt what the
search printed. With costs among the --objectives the result also has the front of the search. The same command again resumes the comparison
and runs only the missing searches. So does a command with more seeds or methods. The test accuracy is read once per search, after its end.

A contest compares tunings in place of searches, for instance that of a human-designed network with the search and the tuning of a cell:
--contestants=TUNING,SEARCH+TUNING --budget=... Every contestant has the same budget on the same data. The folder of a contestant is
WORKDIR/contest/CONTESTANT/seed_0000.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dnas.cells.registries import CHAIN_SPACES, STACKS
from dnas.core import config as config_lib
from dnas.core import durable, json_files
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.extras import needed_by
from dnas.core.paths import expanded
from dnas.core.records import Evaluation, Proposal
from dnas.evaluate.base import TrainedOnce
from dnas.launchers import _commands, _flags, _objectives, _output, _pages, _run, _units, search
from dnas.launchers._comparison_settings import ACCURACY, DATASETS, EVALUATORS, ComparisonSettings, space_of, training_parts
from dnas.launchers._evaluator_makers import asked_costs, evaluator_names, idle_in_evaluator, prepare
from dnas.launchers._evaluators import Judge, check_settings, make_judge, own_preset, own_presets, search_config
from dnas.launchers.configs import SearchConfig
from dnas.report import comparison, contest
from dnas.run.console import is_terminal
from dnas.run.run_folder import RunFolder
from dnas.search.blackbox import objectives, rungs, study
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS
from dnas.tune import executors

UNITS = ("seconds", "multiply_adds")
"""Units of the budget of a contest."""


@config_lib.mounts(STRATEGIES, EVALUATORS)
@dataclasses.dataclass(frozen=True)
class CompareConfig(ComparisonSettings):
  """The settings of a comparison, of every strategy and of every evaluator.

  Attributes:
    seeds: number of searches per method, or of runs per contestant; their seeds are 0, 1, 2, ...
    contestants: presets of dnas tune, with commas between them; SEARCH+TUNING first searches a cell by a preset of dnas search. Empty
      compares search methods.
    budget: what a contestant may spend on search and trials. It takes the place of the number of trials.
    budget_in: unit of the budget: seconds, or multiply_adds for images. The second is the same on every machine.
  """

  seeds: int = 20
  contestants: str = ""
  budget: float = 0.0
  budget_in: str = "seconds"
  pool: executors.Config = dataclasses.field(default_factory=lambda: executors.Config(workers=0))

  def __post_init__(self):
    check_types(self)
    known = [*STRATEGIES, *METHODS]
    for name in self.method_names:
      if name not in known and not own_preset(self.search, name):
        check_name("methods", name, [*known, *(preset for preset in own_presets(self.search) if preset not in known)])
    if len(set(self.method_names)) < len(self.method_names):
      raise FieldError("methods", self.methods, "a method is given twice; give each once")
    objectives.names_of(self.objectives, ACCURACY)
    check_name("budget_in", self.budget_in, UNITS)
    check_not_negative(budget=self.budget)
    check_name("space", self.space, [*STACKS, *CHAIN_SPACES])
    check_name("evaluator", self.evaluator, evaluator_names())
    check_name("dataset", self.dataset, DATASETS)
    check_at_most(10**5, seeds=self.seeds)
    check_fraction(train_portion=self.train_portion)
    check_positive(epochs=self.epochs, report_epochs=self.report_epochs, seconds=self.seconds, seeds=self.seeds)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component = path.partition(".")[0]
    if not self.contestants and component in ("budget", "budget_in"):
      return "it does nothing without --contestants, so leave it out"
    if self.contestants and component not in ("contestants", "budget", "budget_in", "seeds", "pool"):
      return "it does nothing with --contestants, so leave it out"
    if component in config_lib.units(self, STRATEGIES) and component not in self.method_names:
      return f"it does nothing with --methods={self.methods}, so leave it out"
    if component in config_lib.units(self, EVALUATORS) and component != self.evaluator:
      return f"it does nothing with --evaluator={self.evaluator}, so leave it out"
    return _objectives.idle(self, path) or idle_in_evaluator(self, path)

  @property
  def contestant_names(self) -> tuple[str, ...]:
    """The contestants, in the order in which they were named."""
    return tuple(name.strip() for name in self.contestants.split(","))

  def of_cell(self, method: str, seed: int) -> dict[str, object]:
    """Returns all settings on which the result of one search depends, by flag."""
    common = {name: getattr(self, name) for name in _COMMON} | {"objectives": ",".join(self.objective_names)}
    if self.latencies:
      common["latencies.digest"] = _objectives.digest(self)
    parts = self._parts(method, seed)
    own = {name: part.recorded() if isinstance(part, SearchConfig) else config_lib.flatten(part) for name, part in parts.items()}
    return {"method": method, "seed": seed, **common, **_joined(own)}

  def defaults_of_cell(self, method: str, seed: int) -> dict[str, object]:
    """Returns the default values of the settings of a search, for folders that are older than a setting."""
    common = {name: value for name, value in config_lib.defaults(self).items() if name in _COMMON}
    return common | _joined({name: config_lib.defaults(part) for name, part in self._parts(method, seed).items()})

  def _parts(self, method: str, seed: int) -> dict[str, object]:
    """Returns the settings of the method and of the evaluator of one search."""
    parts: dict[str, object] = {method: self.strategy(method) if method in STRATEGIES else search_config(self, method, seed)}
    if self.evaluator in config_lib.units(self, EVALUATORS):
      parts[self.evaluator] = getattr(self, self.evaluator)
    return parts


def _joined(parts: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
  return {f"{name}.{path}": value for name, part in parts.items() for path, value in part.items()}


_Executor = executors.Executor | None
"""Where searches run; None for this process."""

_COMMON = ("space", "evaluator", "table", "dataset", "objectives", "latencies", "epochs", "report_epochs", "training", "search")
_COMMON += ("train_portion", "seconds")


def cell_folder(root: pathlib.Path, config: CompareConfig, method: str, seed: int) -> pathlib.Path:
  """Returns the folder of one search."""
  return root / config.space / config.evaluator / method / f"seed_{seed:04d}"


def run_cell(config: CompareConfig, options: _flags.Options, method: str, seed: int) -> None:
  """Runs one search to its end, or resumes it, and writes its result.

  Raises:
    InputError: if the folder holds another search, or the method or the evaluator refuse what they are given.
  """
  path = cell_folder(pathlib.Path(options.workdir), config, method, seed)
  with RunFolder.open(path, "compare", config.of_cell(method, seed), defaults=config.defaults_of_cell(method, seed)) as folder:
    if read_result(path) is not None:
      return
    silent = method in STRATEGIES and config.evaluator == "tabular"
    with contextlib.nullcontext() if silent else _output.to_log(path / "log.txt"):
      judge = make_judge(config, options, path, seed)
      if method not in STRATEGIES:
        journal = [_search_by_gradient(config, options, judge, path, method, seed)]
        durable.write(path / "journal.jsonl", study.to_line(journal[0]))
      else:
        journal = _search_by_asking(config, judge, path, method, seed)
      settings = config.strategy(method) if method in STRATEGIES else None
      incumbents = study.incumbents(journal, objectives.violation_of(settings))
      if not incumbents:
        raise InputError(f"{path}: no evaluation of the search gave a score, so it found nothing; give a larger --seconds.")
      found = incumbents[-1].genotype
      test = judge.report(found)
      front = study.front(objectives.within(settings, journal), config.costs) if config.costs else []
      known = {one.genotype: judge.report(one.genotype) for one in incumbents} if judge.percentile else {found: test}
    rows = [[one.seconds, one.score, known.get(one.genotype)] for one in incumbents]
    folder.write_genotype(found.to_json())
    spent = sum(evaluation.cost for _, evaluation in journal)
    outcome = {"valid": rows[-1][1], "test": test, "evaluations": len(journal), "seconds": spent, "incumbents": rows}
    if judge.percentile:
      outcome["percentile"] = judge.percentile(found)
      known |= {proposal.genotype: judge.report(proposal.genotype) for proposal, _ in front}
    asked = sorted(asked_costs(config))
    if asked:
      outcome["costs"] = {name: journal[incumbents[-1].trial][1].metrics[name] for name in asked}
    if unmet := objectives.about_unmet(method, settings, [evaluation for _, evaluation in journal]):
      print(f"{unmet} (seed {seed})", flush=True)
    if config.costs:
      outcome["front"] = [
        {**objectives.listed(entry, judge.space, config.costs), "test": known.get(entry[0].genotype)} for entry in front
      ]
    architecture = {"genotype": json.loads(found.to_json()), "notation": judge.space.notation(found)}
    folder.write_result({"method": method, "seed": seed, **architecture, **outcome})


def read_result(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns the result of a search, or None if the search has not ended. Raises InputError if its result.json holds something else."""
  return json_files.read_result(folder, comparison.RESULT)


def _search_by_asking(config: CompareConfig, judge: Judge, folder: pathlib.Path, method: str, seed: int) -> list[study.Entry]:
  """Runs a strategy against the evaluator, or resumes it from its journal. Returns the journal."""
  strategy, path = objectives.on_space(config.strategy(method), judge.space, config.costs), folder / "journal.jsonl"
  # What is not UTF-8 in a line that was being written when the search was killed is left out with it, and elsewhere is no entry.
  text = json_files.read_text(path, "delete it, and the search starts anew", "backslashreplace") if path.exists() else ""
  journal = study.from_lines(text, judge.space, str(path), sorted(asked_costs(config)))
  durable.write(path, "".join(study.to_line(entry) for entry in journal))  # without a line that was being written at a kill
  if journal and isinstance(judge.evaluate, TrainedOnce):
    judge.evaluate.settle()
  with durable.Lines(path) as lines:
    for entry in study.run(strategy, judge, seed, config.seconds, journal):
      lines.write(study.to_line(entry))
      journal.append(entry)
  return journal


def _search_by_gradient(
  config: CompareConfig, options: _flags.Options, judge: Judge, folder: pathlib.Path, method: str, seed: int
) -> study.Entry:
  """Runs a differentiable search. Returns the genotype as a proposal, and its score with the cost of the search."""
  search.run(search_config(config, method, seed), dataclasses.replace(options, workdir=str(folder / "search"), preset=""), set())
  fields = {"genotype": dict, "seconds": json_files.NUMBER}
  result = json_files.present(json_files.read_result(folder / "search", fields), folder / "search")
  proposal = Proposal(judge.space.parse(result["genotype"]))
  evaluation = judge(proposal)
  return proposal, Evaluation(evaluation.score, result["seconds"], evaluation.metrics)


def run_cells(config: CompareConfig, options: _flags.Options, method: str, seeds: tuple[int, ...]) -> int:
  """Runs several searches of one method, one after another; returns how many."""
  _run.prepare(options)
  for seed in seeds:
    run_cell(config, options, method, seed)
  return len(seeds)


def run(config: CompareConfig, options: _flags.Options, given: set[str]) -> None:
  """Runs the searches of a comparison that are missing."""
  _flags.refuse_idle(config, given)
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir).absolute()
  if (root / "config.json").exists():
    raise InputError(f"--workdir {root} holds 'config.json', so it is the folder of a run; give a new one, or that of a comparison.")
  options = dataclasses.replace(options, workdir=str(root))
  if config.contestants:
    with needed_by("a contest of tunings"):
      from dnas.launchers import _contest
    _contest.check_workdir(root)
    steps = ",".join(map(str, options.profile_steps))
    check(not steps, "profile_steps", steps, "a contest of tunings traces none of its trainings, so leave it out")
    rules = _contest.Rules(config.budget, config.budget_in, options)
    _contest.run(config.contestant_names, config.seeds, rules, config.pool)
    _pages.save_or_warn(root, LAUNCHER)
    print(f"report it: {_commands.command('report', {'workdir': options.workdir})}")
    return
  check_settings(config)
  _check_no_contest(root)
  for method in config.method_names:
    if method in STRATEGIES:
      objectives.on_space(config.strategy(method), space_of(config), config.costs)
      if config.evaluator == "training":
        rungs.check_fit(method, config.strategy(method), training_parts(config).train.epochs)
    else:
      search_config(config, method, 0)
  cells = [(method, seed) for method in config.method_names for seed in range(config.seeds)]
  missing = []
  for cell in cells:
    path = cell_folder(root, config, *cell)
    if read_result(path) is not None:
      # Raises if it is of other settings.
      RunFolder.open(path, "compare", config.of_cell(*cell), defaults=config.defaults_of_cell(*cell)).close()
    else:
      missing.append(cell)
  if len(missing) < len(cells):
    print(f"complete: {len(cells) - len(missing)} of {counted(len(cells), 'search', 'searches')}")
  with contextlib.ExitStack() as stack:
    executor = None
    if missing and not config.pool.here(len(cells)):
      executor = stack.enter_context(config.pool.open(functools.partial(_units.load, _units.to_import()), len(cells)))
    _run_missing(config, options, missing, executor)
  print(f"{counted(len(cells), 'search', 'searches')}, each of {config.seconds:,.10g} accelerator seconds, in {options.workdir}")
  _pages.save_or_warn(root, LAUNCHER)
  print(f"report them: {_commands.command('report', {'workdir': options.workdir})}")


def _check_no_contest(root: pathlib.Path) -> None:
  hint = "give a comparison of search methods a folder of its own"
  if (root / contest.FOLDER).is_dir():
    raise InputError(f"--workdir {root} holds a contest of tunings; {hint}.")


def _run_missing(config: CompareConfig, options: _flags.Options, missing: list[tuple[str, int]], executor: _Executor) -> None:
  _run.prepare(options)
  if missing:
    methods = ", ".join(config.method_names)
    if single := _objectives.about_single(config):
      print(f"{single}.")
    print(f"running {counted(len(missing), 'search', 'searches')} in {config.space}, judged by {config.evaluator}: {methods}", flush=True)
    prepare(config, options, pathlib.Path(options.workdir), config.seeds)
  _run_all(config, options, missing, executor)


def _run_all(config: CompareConfig, options: _flags.Options, cells: list[tuple[str, int]], executor: _Executor) -> None:
  several = max(1, min(10, len(cells) // (4 * config.pool.count(len(cells)))))
  jobs = []
  for method in config.method_names:
    seeds = [seed for name, seed in cells if name == method]
    size = several if method in STRATEGIES else 1
    jobs += [(method, tuple(seeds[start : start + size])) for start in range(0, len(seeds), size)]
  console = Console(file=sys.stdout)  # this one, also while the output of a search goes into its log
  columns = (TextColumn("searches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
  with Progress(*columns, console=console, disable=not is_terminal(console), transient=True) as bar:
    task, left = bar.add_task("", total=len(cells)), collections.Counter(method for method, _ in cells)

    def note(method: str, count: int) -> None:
      bar.advance(task, count)
      left[method] -= count
      if not left[method]:
        print(f"{method} is complete", flush=True)
      elif method not in STRATEGIES:
        print(f"{method}: {counted(left[method], 'search', 'searches')} to go", flush=True)

    if executor is None:
      for job in jobs:
        note(job[0], run_cells(config, options, *job))
      return
    for done in executors.run_all(executor, [(run_cells, config, options, *job) for job in jobs]):
      if done is not None:
        note(jobs[done[0]][0], done[1])


LAUNCHER = _flags.Launcher("compare", CompareConfig(), run, __doc__)
main = LAUNCHER.main
