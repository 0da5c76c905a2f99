"""A contest of tunings at equal budget: `dnas compare --contestants=...`.

A contestant is a preset of dnas tune, or a preset of dnas search and one of dnas tune with a '+' between. The second kind searches a cell
first, and the tuning gets what the search leaves of the budget. All is judged by validation. At the end the best trial of every contestant
is trained on all training data and tested once, outside the budget, as every final training is.
"""

import collections
import contextlib
import dataclasses
import difflib
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from dnas.core import config as config_lib
from dnas.core import json_files
from dnas.core.config import check
from dnas.core.errors import FieldError, InputError, counted
from dnas.data import datasets
from dnas.launchers import _flags, _image, _logged, _output, _presets, _run, _trial, _tuning_report, _units, search, train, tune
from dnas.launchers.configs import ImageSearchConfig, ImageTrainConfig, LanguageSearchConfig
from dnas.report import contest
from dnas.run.run_folder import RunFolder
from dnas.search.gradient.costs import search_multiply_adds
from dnas.train.images import RetrainTask
from dnas.tune import engine, executors, study

_TRIALS = 10**6  # a contest ends with its budget, and not with a number of trials
_FAILURES = 20  # failed trials in a row that end a contest, since they cost nothing


class Contestant(NamedTuple):
  """One contestant.

  Attributes:
    name: TUNING or SEARCH+TUNING, the names of the presets.
    search: the search of a cell; None for a network that is given.
    tuning: the tuning of the network.
  """

  name: str
  search: ImageSearchConfig | LanguageSearchConfig | None
  tuning: tune.ImageTuneConfig | tune.LanguageTuneConfig

  def seeded(self, seed: int) -> "Contestant":
    """Returns the contestant with this seed for its search, its trials and its trainings."""
    tuning = config_lib.replace(self.tuning, {"study.trials": _TRIALS, "study.seed": seed, "training.seed": seed})
    return self._replace(search=self.search and config_lib.replace(self.search, {"seed": seed}), tuning=tuning)

  def recorded(self) -> dict[str, Any]:
    """Returns all settings on which the contestant's result depends, by flag."""
    searched = {f"search.{path}": value for path, value in self.search.recorded().items()} if self.search else {}
    left_out = ("seeds", "baseline", "patience", "storage")
    flat = {path: value for path, value in config_lib.flatten(self.tuning).items() if path not in left_out}
    return searched | {f"tuning.{path}": value for path, value in flat.items() if not path.startswith("pool.")}

  def defaults(self) -> dict[str, Any]:
    """Returns the default values of these settings, for folders that are older than a setting."""
    searched = config_lib.defaults(self.search, "search.") if self.search else {}
    return searched | config_lib.defaults(self.tuning, "tuning.")


class Rules(NamedTuple):
  """What all contestants share.

  Attributes:
    budget: the budget of a contestant.
    unit: its unit, one of `compare.UNITS`.
    options: of the launcher.
  """

  budget: float
  unit: str
  options: _flags.Options


def contestant(name: str) -> Contestant:
  """Returns the contestant that a name of the flag --contestants means. Raises FieldError if there is none."""
  *searches, tuning = (part.strip() for part in name.split("+"))
  check(len(searches) <= 1, "contestants", name, "write TUNING or SEARCH+TUNING, the names of two presets")
  for preset, launcher in ((tuning, "tune"), *((one, "search") for one in searches)):
    known = _presets.names_for(launcher)
    near = difflib.get_close_matches(preset, known, n=1) or known
    check(preset in known, "contestants", name, f"'{preset}' is no preset of dnas {launcher}; one is {near[0]}")
  found = Contestant(name, _presets.load(searches[0], "search") if searches else None, _presets.load(tuning, "tune"))
  if found.search is not None:
    training = found.tuning.training
    hint = f"{tuning} tunes the model {training.model}, so there is no cell to search; give {tuning} alone"
    check(not training.model, "contestants", name, hint)
    hint = f"the search is in the space {found.search.space} and {tuning} trains cells of {training.space}"
    check(found.search.space == training.space, "contestants", name, hint)
    check(not found.tuning.joint, "contestants", name, f"{tuning} searches the architecture itself; give it alone")
    hint = f"the search is on {found.search.data.dataset} and {tuning} on {training.data.dataset}"
    check(found.search.data.dataset == training.data.dataset, "contestants", name, hint)
    check(found.search.num_seeds == 1, "contestants", name, f"{searches[0]} makes {found.search.num_seeds} searches at once")
  return found


def entrants(names: Sequence[str], budget: float, unit: str) -> list[Contestant]:
  """Returns the contestants. Raises FieldError if they cannot be compared with each other."""
  check(len(set(names)) == len(names), "contestants", ",".join(names), "a contestant is given twice; give each once")
  check(len(names) > 1, "contestants", ",".join(names), "a contest has at least two")
  check(budget > 0, "budget", budget, "it must be above zero")
  found = [contestant(name) for name in names]
  first = _terms(found[0])
  for other in found[1:]:
    for field, value in _terms(other).items():
      hint = f"its {field} is {value} and that of {found[0].name} is {first.get(field)}; give both the same"
      check(value == first.get(field), "contestants", other.name, hint)
  if unit == "multiply_adds":
    of_images = isinstance(found[0].tuning, tune.ImageTuneConfig)
    check(of_images, "budget_in", unit, "multiply-adds are counted for images alone; give seconds")
  return found


def _terms(one: Contestant) -> dict[str, Any]:
  """Returns what has to be equal in all contestants: the data, their division, and the objective."""
  data = config_lib.flatten(one.tuning.training.data)
  names = ("dataset", "data_dir", *datasets.OF_OWN_IMAGES, "examples", "split", "split_seed", "valid_portion", "level", "tokens")
  terms = {f"data.{name}": data[name] for name in names if name in data}
  return {**terms, "train_portion": one.tuning.train_portion, "study.objectives": one.tuning.study.objectives}


def multiply_adds_of_epoch(config: Any) -> float:
  """Returns the multiply-adds of an epoch of a training on images, with its validation."""
  return _epoch_of(config_lib.replace(config, {"seed": 0}))


@functools.lru_cache(maxsize=256)
def _epoch_of(config: ImageTrainConfig) -> float:
  task = train.parts_of(config, force=True)[1].task
  assert isinstance(task, RetrainTask)
  return task.multiply_adds()


def multiply_adds_of_search(config: ImageSearchConfig) -> float:
  """Returns the multiply-adds of a search on images."""
  parts = _image.search_parts(config, force=True)
  return search_multiply_adds(config.task(parts.workload, config.seed, limit=parts.limit))


def check_searches(found: Sequence[Contestant], rules: Rules) -> None:
  """Raises FieldError if a search alone would use up the budget, as far as that is known before."""
  for one in found:
    if one.search is not None and rules.unit == "multiply_adds":
      assert isinstance(one.search, ImageSearchConfig)
      cost = multiply_adds_of_search(one.search)
      hint = f"the search of {one.name} takes {contest.amount(cost, rules.unit)}, so give more than that"
      check(cost < rules.budget, "budget", rules.budget, hint)


class Account:
  """What a contestant has spent.

  Attributes:
    left: what its search has left for its trials.
  """

  def __init__(self, rules: Rules, searched: float):
    """Begins with the cost of the search."""
    self._rules, self.left = rules, rules.budget - searched
    self._trials: list[FrozenTrial] = []

  def exhausted(self, trials: list[FrozenTrial]) -> bool:
    """Returns whether the trials that have ended have used up the budget. Raises InputError if many in a row could not be run."""
    self._trials = trials
    last = trials[-_FAILURES:]
    if len(last) == _FAILURES and all(trial.state is TrialState.FAIL for trial in last):
      why = str(last[-1].user_attrs.get("error", "")).rstrip(".")
      raise InputError(f"the last {_FAILURES} trials failed, the last one because: {why}; correct the search space of the tuning.")
    return self.spent(trials) >= self.left

  @staticmethod
  def spent(trials: Sequence[FrozenTrial]) -> float:
    """Returns the cost of the trials that have ended."""
    return sum(trial.user_attrs.get("cost", 0.0) for trial in trials)

  def run_trial(self, assignment: engine.Assignment, payload: _trial.Payload) -> engine.Result:
    """Runs a trial as `_trial.run_trial` does, until the budget is used up, and notes its cost."""
    others = [trial for trial in self._trials if trial.number != assignment.number]
    left = self.left - self.spent(others)
    before = max((trial.user_attrs["seconds"] for trial in others if _is_ended_in(trial, assignment.folder)), default=0.0)

    began = time.monotonic()

    def cost(config: Any, epochs: int, seconds: float) -> float:
      """Returns the cost of a trial after so many epochs; one that did not end its first epoch costs something too."""
      if self._rules.unit == "seconds":
        return max(seconds - before, 0.0) if epochs else time.monotonic() - began
      return max(epochs, 1) * multiply_adds_of_epoch(config)

    def stops(config: Any, records: list[Any]) -> bool:
      return bool(records) and cost(config, len(records) - assignment.resumed, records[-1]["seconds"]) >= left

    result = _trial.run_trial(assignment, payload, stops)
    config = _trial.config_of(payload.training, assignment.point, pathlib.Path(assignment.folder))
    return result._replace(notes={**result.notes, "cost": cost(config, result.epochs, result.seconds)})


def _is_ended_in(trial: FrozenTrial, folder: str) -> bool:
  return trial.user_attrs.get("folder") == folder and "seconds" in trial.user_attrs


def folder_of(root: pathlib.Path, name: str, seed: int) -> pathlib.Path:
  """Returns the folder of one contestant with one seed."""
  return root / contest.FOLDER / name / f"seed_{seed:04d}"


def open_folder(path: pathlib.Path, one: Contestant, seed: int, rules: Rules) -> RunFolder:
  """Opens the folder of a contestant. Raises InputError if it holds another one."""
  terms = {"contestant": one.name, "seed": seed, "budget": rules.budget, "budget_in": rules.unit}
  return RunFolder.open(path, "compare", terms | one.recorded(), defaults=one.defaults())


def run_one(one: Contestant, seed: int, rules: Rules) -> str:
  """Runs a contestant with one seed to its end, or resumes it, and writes its result. Returns its name."""
  _run.prepare(rules.options)
  path, seeded = folder_of(pathlib.Path(rules.options.workdir), one.name, seed), one.seeded(seed)
  with open_folder(path, seeded, seed, rules) as folder:
    if json_files.read_result(path, contest.RESULT) is None:
      with _output.to_log(path / "log.txt"):
        result = _run_to_its_end(seeded, path, folder, rules)
      folder.write_result({"contestant": one.name, "seed": seed, "unit": rules.unit, **result})
  return one.name


def _run_to_its_end(one: Contestant, path: pathlib.Path, folder: RunFolder, rules: Rules) -> dict[str, Any]:
  options = dataclasses.replace(rules.options, preset="", profile_steps=())
  tuning, searched = one.tuning, {"seconds": 0.0, "multiply_adds": 0.0}
  if one.search is not None:
    search.run(one.search, dataclasses.replace(options, workdir=str(path / "search")), set())
    result = json_files.present(json_files.read_result(path / "search", {"seconds": json_files.NUMBER}), path / "search")
    searched["seconds"] = result["seconds"]
    if rules.unit == "multiply_adds":
      assert isinstance(one.search, ImageSearchConfig)
      searched["multiply_adds"] = multiply_adds_of_search(one.search)
    tuning = config_lib.replace(tuning, {"training.genotype": str(path / "search")})
  account = Account(rules, searched[rules.unit])
  hint = f"the search of {one.name} took {contest.amount(searched[rules.unit], rules.unit)}, which left nothing to tune with; give more"
  check(account.left > 0, "budget", rules.budget, hint)
  parts = tune.Tuning(tuning, dataclasses.replace(options, workdir=str(path)))
  folder.keep(tune.ID, f"{parts.id}\n")
  with executors.Here() as here:
    parts.check_range(here)
    opened = parts.run_study(
      here, tuning.study, tuning.study_name, lambda: False, first=True, run_trial=account.run_trial, exhausted=account.exhausted
    )
  best = study.best_trials(opened)
  if not best:
    raise FieldError("budget", rules.budget, f"no trial of {one.name} ended within it; give more")
  at_last = dataclasses.replace(options, workdir=str(path / "final/seed"))
  final = _logged.run_final(parts.final_config(best[0], tuning.training.seed), at_last)
  outcome, trials = train.outcome_of(final), opened.trials
  return {
    "objective": tuning.study.objectives,
    "valid": best[0].values[0],
    "measure": outcome.measure,
    "measured_in": outcome.unit.strip(),
    "test": outcome.value,
    "weights": final["weights"],
    "spent": searched[rules.unit] + account.spent(trials),
    "search": searched[rules.unit],
    "seconds": searched["seconds"] + _seconds(trials),
    "trials": len(trials),
    "epochs": study.epochs_of(opened),
    "incumbents": _incumbents(trials, best, searched[rules.unit]),
    "best": _tuning_report.summary(best[0]),
  }


def _incumbents(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial], searched: float) -> list[list[float]]:
  """Returns [spent, validation value] at each trial that was better than all before it; `best` has the complete trials, the best first."""
  rank, lowest, out = {trial.number: place for place, trial in enumerate(best)}, len(best), list[list[float]]()
  for end, trial in enumerate(trials, start=1):  # in the order of their ends, since one runs at a time
    if rank.get(trial.number, lowest) < lowest:
      lowest = rank[trial.number]
      out.append([searched + Account.spent(trials[:end]), trial.values[0]])
  return out


def _seconds(trials: Sequence[FrozenTrial]) -> float:
  """Returns the seconds of all trainings; a training that was promoted is one, though it is several trials."""
  by_folder = collections.defaultdict[str, float](float)
  for trial in trials:
    by_folder[trial.user_attrs.get("folder", "")] = trial.user_attrs.get("seconds", 0.0)
  return sum(by_folder.values())


def run(names: Sequence[str], seeds: int, rules: Rules, pool: executors.Config) -> None:
  """Runs what is missing of a contest, and prints who won.

  Raises:
    InputError: for contestants that cannot be compared, a budget that a search alone uses up, or a folder of another contest.
  """
  found, root = entrants(names, rules.budget, rules.unit), pathlib.Path(rules.options.workdir)
  cells = [(one, seed) for seed in range(seeds) for one in found]
  missing = []
  for one, seed in cells:
    path = folder_of(root, one.name, seed)
    if json_files.read_result(path, contest.RESULT) is None:
      missing.append((one, seed))
    else:
      open_folder(path, one.seeded(seed), seed, rules).close()  # raises if it is of other settings
  if len(missing) < len(cells):
    print(f"complete: {len(cells) - len(missing)} of {counted(len(cells), 'run')}")
  if missing:
    check_searches(found, rules)
    each = contest.amount(rules.budget, rules.unit)
    print(f"running {counted(len(missing), 'run')} of {each} each: {', '.join(names)}", flush=True)
    print(f"what they print: {root / contest.FOLDER}/*/seed_*/log.txt", flush=True)
    with contextlib.ExitStack() as stack:
      if pool.here(len(cells)):
        executor: executors.Executor = stack.enter_context(executors.Here())
      else:
        executor = stack.enter_context(pool.open(functools.partial(_units.load, _units.to_import()), len(cells)))
      left = collections.Counter(one.name for one, _ in missing)
      for done in executors.run_all(executor, [(run_one, one, seed, rules) for one, seed in missing]):
        if done is not None:
          left[done[1]] -= 1
          print(f"{done[1]}: {counted(left[done[1]], 'run')} to go" if left[done[1]] else f"{done[1]} is complete", flush=True)
  print(f"\n{contest.result_table(contest.load(root)).to_markdown()}\n{contest.verdict(contest.load(root))}")


def check_workdir(root: pathlib.Path) -> None:
  """Raises InputError if a folder holds a comparison of another kind."""
  if any(root.glob("*/*/*/seed_*/config.json")):
    raise InputError(f"--workdir {root} holds a comparison of search methods; give a contest a folder of its own.")
