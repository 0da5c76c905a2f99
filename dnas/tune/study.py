"""Studies: the trials of a tuning, their values, and the choice of the next trial. Optuna's samplers and pruners make the decisions.

Every trial is sampled from a random stream of its own, derived from the study's seed and the trial's number. So, with one worker, a study
that was interrupted continues exactly as an uninterrupted one.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from dnas import __version__
from dnas.core.config import check, check_at_most, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.errors import FieldError, InputError, counted
from dnas.tune.space import SearchSpace
from dnas.tune.storage import check_storage, file_url, is_empty, open_storage, shown_url, wait_for_storage

Direction = Literal["minimize", "maximize"]

DIRECTIONS: dict[str, Direction] = {
  "accuracy": "maximize",
  "balanced_accuracy": "maximize",
  "loss": "minimize",
  "perplexity": "minimize",
  "weights": "minimize",
  "latency": "minimize",
}
"""Directions of the objectives. Accuracies are fractions, loss is in nats, latency in milliseconds per batch."""


@dataclasses.dataclass(frozen=True)
class Config:
  """How trials are chosen and pruned.

  Attributes:
    trials: number of trials, including those that are pruned.
    sampler: sampler that chooses the next trial; gp needs PyTorch, and cmaes the package cmaes.
    startup: random trials before tpe, gp or cmaes begins.
    population: trials in a generation of nsga2.
    pruner: pruner that ends trials early; every pruner except none needs a single objective.
    min_epochs: epochs before a trial may be pruned, and the budget of the lowest rung.
    eta: each rung promotes 1 / eta of its trials; the next rung has eta times the epochs.
    promote: whether successive_halving resumes a pruned trial from its checkpoint once it is among the best of its rung.
    objectives: comma-separated names of the objectives.
    seed: seed of the sampler.
  """

  trials: int = 20
  sampler: str = named("tpe", lambda: SAMPLERS)
  startup: int = 10
  population: int = 20
  pruner: str = named("none", lambda: PRUNERS)
  min_epochs: int = 1
  eta: int = 3
  promote: bool = True
  objectives: str = named("accuracy", lambda: DIRECTIONS)
  seed: int = 0

  def __post_init__(self):
    check_types(self)
    check_positive(trials=self.trials, startup=self.startup, population=self.population, min_epochs=self.min_epochs)
    check_at_most(10**6, trials=self.trials, startup=self.startup, population=self.population)
    check(self.eta >= 2, "eta", self.eta, "it must be 2 or more")
    check_not_negative(seed=self.seed)
    check_name("sampler", self.sampler, SAMPLERS)
    check_name("pruner", self.pruner, PRUNERS)
    for name in self.objective_names:
      check_name("objectives", name, DIRECTIONS)
    check(len(set(self.objective_names)) == len(self.objective_names), "objectives", self.objectives, "one is given twice; give each once")
    several = len(self.objective_names) > 1
    check(not several or self.pruner == "none", "pruner", self.pruner, "with several objectives it must be none")
    single = several and self.sampler == "cmaes"
    check(not single, "sampler", self.sampler, f"it needs one objective and there are {self.objectives}; nsga2 takes several")
    for package, samplers in _NEEDED.items():
      missing = self.sampler in samplers and importlib.util.find_spec(package) is None
      check(not missing, "sampler", self.sampler, f"it needs a package that is not installed: pip install {package}")
    learnt = self.objective_names[0] in ("weights", "latency")
    check(not learnt, "objectives", self.objectives, "put an objective that validation measures first: accuracy, loss or perplexity")

  @property
  def objective_names(self) -> tuple[str, ...]:
    """Names of the objectives, in the order given."""
    return tuple(name.strip() for name in self.objectives.split(","))

  @property
  def directions(self) -> list[Direction]:
    """Direction of every objective, 'maximize' or 'minimize'."""
    return [DIRECTIONS[name] for name in self.objective_names]

  def make_pruner(self) -> BasePruner:
    """Returns the Optuna pruner that `pruner` names."""
    return PRUNERS[self.pruner](self)


_NEEDED = {"torch": ("gp",), "cmaes": ("cmaes",)}

SAMPLERS: Mapping[str, Callable[[Config, int], BaseSampler]] = {
  "random": lambda config, seed: RandomSampler(seed),
  "tpe": lambda config, seed: TPESampler(seed=seed, n_startup_trials=config.startup, multivariate=True, group=True, constant_liar=True),
  "gp": lambda config, seed: GPSampler(seed=seed, n_startup_trials=config.startup),
  "cmaes": lambda config, seed: CmaEsSampler(seed=seed, n_startup_trials=config.startup),
  "nsga2": lambda config, seed: NSGAIISampler(seed=seed, population_size=config.population),
}
"""Factories of samplers by name; each maps (configuration, seed) to a sampler."""

PRUNERS: Mapping[str, Callable[[Config], BasePruner]] = {
  "none": lambda config: NopPruner(),
  "median": lambda config: MedianPruner(n_startup_trials=5, n_warmup_steps=config.min_epochs),
  "successive_halving": lambda config: SuccessiveHalvingPruner(min_resource=config.min_epochs, reduction_factor=config.eta),
  "hyperband": lambda config: HyperbandPruner(min_resource=config.min_epochs, reduction_factor=config.eta),
}
"""Factories of pruners by name; each maps a configuration to a pruner."""


@dataclasses.dataclass(frozen=True)
class Address:
  """The address under which a process opens a study.

  Attributes:
    url: URL of the storage.
    name: name of the study in the storage.
    patience: seconds for which access to a database is retried while it does not answer.
  """

  url: str
  name: str
  patience: float = 3600.0

  def open(self) -> BaseStorage:
    """Opens the existing storage; retries for `patience` seconds."""
    return wait_for_storage(self.url, self.patience)

  def load(self, config: Config, storage: BaseStorage) -> optuna.Study:
    """Opens the study for a worker. A worker reports and prunes but asks for no trials, so the sampler is not used."""
    return optuna.load_study(study_name=self.name, storage=storage, sampler=RandomSampler(), pruner=config.make_pruner())


@dataclasses.dataclass(frozen=True)
class Owner:
  """The run to which a study belongs. Only that run asks for trials and tells results.

  Attributes:
    id: unique identifier of the run; empty for a study that belongs to no run.
    trials: parent of the trial folders.
  """

  id: str = ""
  trials: pathlib.Path = pathlib.Path("trials")


def check_study(address: Address, config: Config, space: SearchSpace, owner: Owner) -> None:
  """Checks that a study can be created or resumed. Writes nothing.

  Raises:
    InputError: if the storage cannot be opened, if a trial folder has no trial in the study, or as `open_study` does.
  """
  quiet()
  own = address.url == file_url(owner.trials.absolute().parent / "study.db")  # in the run's own folder, which is checked and created first
  if not own or owner.trials.parent.is_dir():
    check_storage(address.url)
  if is_empty(address.url):
    _check_folders(address, owner, [])
  elif not own:
    try:
      study = optuna.load_study(study_name=address.name, storage=open_storage(address.url, address.patience))
    except KeyError:
      _check_folders(address, owner, [])
    else:
      _check(study, address, config, space, owner)


def open_study(address: Address, config: Config, space: SearchSpace, owner: Owner = Owner()) -> optuna.Study:  # noqa: B008  (frozen)
  """Creates the study, or opens the existing one of that name.

  Raises:
    InputError: if the storage cannot be opened; if the existing study has another space, other objectives, other settings or another
      version of this program, or belongs to another run; or if a trial folder has no trial in the study.
  """
  quiet()
  study = optuna.create_study(
    study_name=address.name,
    storage=open_storage(address.url, address.patience),
    sampler=RandomSampler(),
    pruner=config.make_pruner(),
    directions=config.directions,
    load_if_exists=True,
  )
  _check(study, address, config, space, owner)
  for name, value in _signs(config, space, owner).items():
    if study.user_attrs.get(name) is None:
      study.set_user_attr(name, value)
  return study


def check_owner(study: optuna.Study, owner: Owner) -> None:
  """Raises InputError if a study belongs to another run."""
  known = study.user_attrs.get("run")
  if owner.id and known is not None and known["id"] != owner.id:
    hint = "go on there, or give another --study_name"
    raise InputError(f"the study '{study.study_name}' belongs to another run, with trials in {known['trials']}; {hint}.")


def _check(study: optuna.Study, address: Address, config: Config, space: SearchSpace, owner: Owner) -> None:
  if [direction.name.lower() for direction in study.directions] != config.directions:
    raise FieldError("study.objectives", config.objectives, f"the study '{address.name}' has other objectives; give another --workdir")
  check_owner(study, owner)
  for name, value in _signs(config, space, owner).items():
    known = study.user_attrs.get(name)
    if name != "run" and known is not None and known != json.loads(json.dumps(value)):
      raise _of_another(address, name, known, value)
  _check_folders(address, owner, [trial.number for trial in study.get_trials(deepcopy=False)])


def _signs(config: Config, space: SearchSpace, owner: Owner) -> dict[str, Any]:
  """Returns the attributes that identify a study. A resumed study must have the same ones."""
  of_run = {"run": {"id": owner.id, "trials": str(owner.trials)}} if owner.id else {}
  return {"dnas": __version__, "space": space.to_json(), "decided": decided_by(config), **of_run}


def _check_folders(address: Address, owner: Owner, numbers: list[int]) -> None:
  """Raises InputError if a trial folder has no trial in the study. A trial is stored before its folder is created, so the study lost it."""
  known = {f"trial_{number:04d}" for number in numbers}
  lost = sorted(path.name for path in owner.trials.glob("trial_*") if path.is_dir() and path.name not in known)
  if owner.id and lost:
    what = f"the study '{address.name}' in {shown_url(address.url)} has {counted(len(numbers), 'trial')}"
    hint = "restore the study from a copy, or give another --workdir"
    raise InputError(f"{what}, and not {lost[0]}, whose folder is in {owner.trials}; {hint}.")


def _of_another(address: Address, name: str, known: Any, value: Any) -> InputError:
  if name == "dnas":
    hint = f"was begun with dnas {known} and this is dnas {value}; go on with that version, or give the study another name"
  elif name == "space":
    theirs, ours = ([entry[0] for entry in entries[0]] + [str(entries[1] or "")] for entries in (known, value))
    differing = sorted({*theirs} ^ {*ours} - {""}) or ["the same fields, with other values"]
    hint = f"has another search space ({', '.join(filter(None, differing))[:200]}); give the study another name, or the same space"
  else:
    changed = [field for field in value if known.get(field) != value[field]]
    hint = f"was begun with another {', '.join(changed)}; give the study another name, or the same flags"
  return InputError(f"the study '{address.name}' in {shown_url(address.url)} {hint}.")


def trial_id(study: optuna.Study, storage: BaseStorage, number: int) -> int:
  """Returns the storage's id of the trial with this number."""
  return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study.study_name), number)


def decided_by(config: Config) -> dict[str, Any]:
  """Returns the fields that determine a trial: all but the number of trials."""
  return {name: value for name, value in dataclasses.asdict(config).items() if name != "trials"}


def with_sampler(study: optuna.Study, config: Config, stream: int) -> None:
  """Sets the study's sampler for one trial, with a random stream of its own."""
  seed = int(np.random.SeedSequence([config.seed, stream]).generate_state(1)[0])
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study.sampler = SAMPLERS[config.sampler](config, seed)


def promotable(study: optuna.Study, eta: int) -> FrozenTrial | None:
  """Returns a pruned trial to promote, or None if there is none.

  It is in the top 1 / eta of its rung and was not promoted before. Of several, it is the best one of the highest rung. With promotion,
  successive halving is ASHA (Li et al., MLSys 2020, algorithm 2). Optuna's pruner alone never resumes a trial.
  """
  trials = study.get_trials(deepcopy=False)
  gone_on = {trial.user_attrs["promotes"] for trial in trials if "promotes" in trial.user_attrs}
  own = [trial for trial in trials if "promotes" not in trial.user_attrs]
  better = 1 if study.direction.name == "MAXIMIZE" else -1
  candidates = []
  for trial in trials:
    step = trial.last_step
    if trial.state is not TrialState.PRUNED or trial.number in gone_on or step is None or "pruned_at" not in trial.user_attrs:
      continue
    value = trial.intermediate_values[step]
    rung = sorted((better * other.intermediate_values[step] for other in own if step in other.intermediate_values), reverse=True)
    if len(rung) // eta and better * value >= rung[len(rung) // eta - 1]:
      candidates.append((step, better * value, -trial.number, trial))
  return max(candidates, key=lambda candidate: candidate[:3])[3] if candidates else None


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
  """Returns the complete trials, the best in the first objective first. With several objectives, returns only the Pareto front."""
  trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
  if len(study.directions) > 1:
    trials = study.best_trials
  sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
  return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))


def epochs_of(study: optuna.Study) -> int:
  """Returns the total number of epochs that all trials have trained."""
  return sum(trial.user_attrs.get("epochs", 0) for trial in study.get_trials(deepcopy=False))


@functools.cache
def quiet() -> None:
  """Stops Optuna from logging a line for every trial."""
  optuna.logging.set_verbosity(optuna.logging.WARNING)
