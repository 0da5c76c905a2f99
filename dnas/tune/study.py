"""A study: which trials there were, what they were worth, and what to try next. Optuna decides; we only say of what.

Every decision of a sampler has a random stream of its own, from the seed of the study and the number of the trial. So a study that was
broken off goes on as the unbroken one would have, where one worker runs its trials one after another.
"""

import dataclasses
import functools
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from dnas import __version__
from dnas.core.config import check, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.errors import FieldError, InputError
from dnas.tune.space import SearchSpace
from dnas.tune.storage import open_storage, shown_url, wait_for_storage

DIRECTIONS = {
  "accuracy": "maximize",
  "balanced_accuracy": "maximize",
  "loss": "minimize",
  "perplexity": "minimize",
  "weights": "minimize",
  "latency": "minimize",
}
"""What a trial may be judged by; accuracies are fractions, loss in nats, latency in milliseconds a batch."""


@dataclasses.dataclass(frozen=True)
class Config:
  """How trials are chosen, and which are cut short.

  Attributes:
    trials: how many trials there are, those that are pruned included.
    sampler: what chooses the next trial; gp needs PyTorch, and cmaes the package cmaes.
    startup: random trials before tpe, gp or cmaes begins.
    population: trials in a generation of nsga2.
    pruner: what ends a trial early; all but none need a single objective.
    min_epochs: epochs before a trial may be pruned, and the budget of the lowest rung.
    eta: from rung to rung the best of so many trials goes on, for so many times the epochs.
    promote: whether a pruned trial goes on from its checkpoint when later ones put it among the best of its rung, in successive_halving.
    objectives: what a trial is judged by, names with commas between them.
    seed: of the sampler.
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
    check(self.eta >= 2, "eta", self.eta, "it must be 2 or more")
    check_not_negative(seed=self.seed)
    check_name("sampler", self.sampler, SAMPLERS)
    check_name("pruner", self.pruner, PRUNERS)
    for name in self.objective_names:
      check_name("objectives", name, DIRECTIONS)
    check(len(set(self.objective_names)) == len(self.objective_names), "objectives", self.objectives, "one is named twice; name each once")
    several = len(self.objective_names) > 1
    check(not several or self.pruner == "none", "pruner", self.pruner, f"it needs one objective and there are {self.objectives}; give none")
    single = several and self.sampler == "cmaes"
    check(not single, "sampler", self.sampler, f"it needs one objective and there are {self.objectives}; nsga2 takes several")
    for package, samplers in _NEEDED.items():
      missing = self.sampler in samplers and importlib.util.find_spec(package) is None
      check(not missing, "sampler", self.sampler, f"it needs a package that is not installed: pip install {package}")
    learnt = self.objective_names[0] in ("weights", "latency")
    check(not learnt, "objectives", self.objectives, "put what validation measures first: accuracy, loss or perplexity")

  @property
  def objective_names(self) -> tuple[str, ...]:
    """The objectives, in the order in which they were named."""
    return tuple(name.strip() for name in self.objectives.split(","))

  @property
  def directions(self) -> list[str]:
    """For every objective, 'maximize' or 'minimize'."""
    return [DIRECTIONS[name] for name in self.objective_names]

  def make_pruner(self) -> BasePruner:
    """Returns the pruner of Optuna."""
    return PRUNERS[self.pruner](self)


_NEEDED = {"torch": ("gp",), "cmaes": ("cmaes",)}

SAMPLERS: Mapping[str, Callable[[Config, int], BaseSampler]] = {
  "random": lambda config, seed: RandomSampler(seed),
  "tpe": lambda config, seed: TPESampler(seed=seed, n_startup_trials=config.startup, multivariate=True, group=True, constant_liar=True),
  "gp": lambda config, seed: GPSampler(seed=seed, n_startup_trials=config.startup),
  "cmaes": lambda config, seed: CmaEsSampler(seed=seed, n_startup_trials=config.startup),
  "nsga2": lambda config, seed: NSGAIISampler(seed=seed, population_size=config.population),
}
"""Name to (configuration, seed) to a sampler."""

PRUNERS: Mapping[str, Callable[[Config], BasePruner]] = {
  "none": lambda config: NopPruner(),
  "median": lambda config: MedianPruner(n_startup_trials=5, n_warmup_steps=config.min_epochs),
  "successive_halving": lambda config: SuccessiveHalvingPruner(min_resource=config.min_epochs, reduction_factor=config.eta),
  "hyperband": lambda config: HyperbandPruner(min_resource=config.min_epochs, reduction_factor=config.eta),
}
"""Name to configuration to a pruner."""


@dataclasses.dataclass(frozen=True)
class Address:
  """How a process finds a study.

  Attributes:
    url: of the storage.
    name: of the study in it.
    patience: seconds for which a data base that went away is waited for.
  """

  url: str
  name: str
  patience: float = 3600.0

  def open(self) -> BaseStorage:
    """Opens the storage, which was there before, and waits for it."""
    return wait_for_storage(self.url, self.patience)

  def load(self, config: Config, storage: BaseStorage) -> optuna.Study:
    """Opens the study for a worker, which reports and prunes, and asks for nothing."""
    return optuna.load_study(study_name=self.name, storage=storage, sampler=RandomSampler(), pruner=config.make_pruner())


def open_study(address: Address, config: Config, space: SearchSpace) -> optuna.Study:
  """Makes a study, or opens the one of that name.

  Raises:
    InputError: if the storage cannot be opened, or the study there is of another space, of other objectives or of another version of
      this program.
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
  if [direction.name.lower() for direction in study.directions] != config.directions:
    raise FieldError("study.objectives", config.objectives, f"the study '{address.name}' was begun with others; give another --workdir")
  ours = {"dnas": __version__, "space": space.to_json(), "decided": decided_by(config)}
  for name, value in ours.items():
    known = study.user_attrs.get(name)
    if known is None:
      study.set_user_attr(name, value)
    elif known != json.loads(json.dumps(value)):
      raise _of_another(address, name, known, value)
  return study


def _of_another(address: Address, name: str, known: Any, value: Any) -> InputError:
  if name == "dnas":
    mend = f"was begun with dnas {known} and this is dnas {value}; go on with that version, or give the study another name"
  elif name == "space":
    theirs, ours = ([entry[0] for entry in entries[0]] + [str(entries[1] or "")] for entries in (known, value))
    differing = sorted({*theirs} ^ {*ours} - {""}) or ["the same fields, with other values"]
    mend = f"is of another search space ({', '.join(filter(None, differing))[:200]}); give the study another name, or the same space"
  else:
    changed = [field for field in value if known.get(field) != value[field]]
    mend = f"was begun with another {', '.join(changed)}; give the study another name, or the same flags"
  return InputError(f"the study '{address.name}' in {shown_url(address.url)} {mend}.")


def trial_id(study: optuna.Study, storage: BaseStorage, number: int) -> int:
  """Returns by what a storage knows the trial of this number."""
  return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study.study_name), number)


def decided_by(config: Config) -> dict[str, Any]:
  """Returns the fields that decide what a trial is, all but their number."""
  return {name: value for name, value in dataclasses.asdict(config).items() if name != "trials"}


def with_sampler(study: optuna.Study, config: Config, stream: int) -> None:
  """Gives the study the sampler of a trial, with a random stream of its own."""
  seed = int(np.random.SeedSequence([config.seed, stream]).generate_state(1)[0])
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study.sampler = SAMPLERS[config.sampler](config, seed)


def promotable(study: optuna.Study, eta: int) -> FrozenTrial | None:
  """Returns the best pruned trial that is now among the best of its rung, one in eta, and has not gone on yet; None if there is none.

  With it successive halving is that of ASHA (Li et al., MLSys 2020, algorithm 2), where Optuna's alone never comes back to a trial.
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
  """Returns the complete trials, best first by the first objective; with several objectives the Pareto front alone."""
  trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
  if len(study.directions) > 1:
    trials = study.best_trials
  sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
  return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))


def epochs_of(study: optuna.Study) -> int:
  """Returns how many epochs all trials have trained."""
  return sum(trial.user_attrs.get("epochs", 0) for trial in study.get_trials(deepcopy=False))


@functools.cache
def quiet() -> None:
  """Keeps Optuna from writing a line for every trial beside ours."""
  optuna.logging.set_verbosity(optuna.logging.WARNING)
