"""Tunes the hyperparameters of a training, and with --joint also the architecture; then retrains the best trial and tests it.

  dnas tune --preset=tune_digits_demo --workdir=runs/tuned
  dnas tune --preset=tune_darts_cifar10 --pool.workers=8 --pool.accelerators=1 --workdir=runs/tuned_cifar10

--search_space has one entry for every field of the training that is tuned, with semicolons between the entries:

  train.learning_rate = log(0.01, 0.3); train.drop_path = uniform(0, 0.4); data.cutout_length = int(0, 16, 4);
  train.schedule = choice(cosine, linear); train.final_learning_rate = log(1e-4, 1e-2) if train.schedule in (linear)

Every trial is a training by dnas train in a folder of its own. Validation data alone judges it. At the end the best trial is trained on all
training data, with several seeds, and every such network is tested once. The same command again resumes the tuning. A larger
--study.trials adds trials.
Look at the study while it runs: optuna-dashboard sqlite:///WORKDIR/study.db
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import shlex
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.core.errors import InputError, cause_of, counted
from dnas.core.paths import expanded
from dnas.data import datasets
from dnas.launchers import _flags, _logged, _output, _pages, _trial, _tuning_report, _units, train
from dnas.launchers.configs import ImageTrainConfig, LanguageTrainConfig
from dnas.report import palette
from dnas.run.loop import Stopped
from dnas.run.run_folder import RunFolder
from dnas.run.stop import StopRequest
from dnas.tune import engine, executors, plots, study
from dnas.tune import space as spaces
from dnas.tune.storage import explained, file_url
from dnas.tune.study import Config as StudyConfig


@dataclasses.dataclass(frozen=True)
class TuneConfig:
  """The settings of a tuning that images and text share.

  Attributes:
    search_space: the fields of the training that are tuned, 'PATH = uniform(LOW, HIGH); ...', see above.
    joint: whether the architecture is tuned together with these fields, in the space of the training.
    train_portion: fraction of the training images that a trial trains on; the rest validates. A text has a validation set of its own, as
      images of your own may have.
    seeds: number of final trainings of the best trial on all training data, with seeds 0, 1, 2, ...; 0 trains and tests none.
    baseline: whether random search also runs, with as many epochs as all trials took together.
    storage: URL of the database of the study, such as postgresql+psycopg://USER@HOST/DATABASE; empty for study.db in --workdir. Every
      process reads the password from the environment variable DNAS_STORAGE_PASSWORD, or for PostgreSQL from ~/.pgpass.
    study_name: name of the study in the database.
    patience: seconds to wait for a database that does not answer.
    training: configuration of a trial; the fields are the flags of dnas train.
  """

  search_space: str = "train.learning_rate = log(0.01, 0.3); train.drop_path = uniform(0, 0.4)"
  joint: bool = False
  train_portion: float = 0.8
  seeds: int = 3
  baseline: bool = False
  storage: str = ""
  study_name: str = "tune"
  patience: float = 3600.0
  study: StudyConfig = dataclasses.field(default_factory=StudyConfig)
  pool: executors.Config = dataclasses.field(default_factory=executors.Config)

  def __post_init__(self):
    check_types(self)
    check_not_negative(seeds=self.seeds, patience=self.patience)
    check_positive(train_portion=self.train_portion)
    check_at_most(1000, seeds=self.seeds)
    check(self.train_portion < 1, "train_portion", self.train_portion, "a trial is judged by the rest, so it must be below 1")
    check(bool(self.study_name.strip()), "study_name", "''", "give the study a name")

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    for field, (by, users) in _USED_BY.items():
      chosen = getattr(self.study, by)
      if path == f"study.{field}" and chosen not in users:
        return f"it does nothing with --study.{by}={chosen}, so leave it out, or choose {' or '.join(users)}"
    if path == "training.test":
      return "trials are never tested, and the final trainings always are, so leave it out"
    if path == "training.data.train_portion" and isinstance(self, ImageTuneConfig):
      return "trials train on --train_portion, and the final trainings on all, so leave it out"
    if path == "train_portion" and isinstance(self, LanguageTuneConfig):
      return "a text has a validation set of its own, so leave it out"
    field = "data.train_portion" if path == "train_portion" else path.removeprefix("training.")
    return self.training.idle(field) if isinstance(self, ImageTuneConfig | LanguageTuneConfig) and field.startswith("data.") else ""


_USED_BY = {
  "startup": ("sampler", ("tpe", "gp", "cmaes")),
  "population": ("sampler", ("nsga2",)),
  "min_epochs": ("pruner", ("successive_halving", "hyperband", "median")),
  "eta": ("pruner", ("successive_halving", "hyperband")),
  "promote": ("pruner", ("successive_halving",)),
}
"""Field of the study to a pair: the field that chooses a sampler or a pruner, and the samplers or pruners that use the key."""


@dataclasses.dataclass(frozen=True)
class ImageTuneConfig(TuneConfig):
  """A tuning of trainings on images."""

  training: ImageTrainConfig = dataclasses.field(default_factory=ImageTrainConfig)


@dataclasses.dataclass(frozen=True)
class LanguageTuneConfig(TuneConfig):
  """A tuning of trainings on text."""

  training: LanguageTrainConfig = dataclasses.field(default_factory=LanguageTrainConfig)


_DATA = tuple(f"data.{name}" for name in ("examples", "train_portion", "valid_portion", "split", "split_seed", *datasets.OF_OWN_IMAGES))
_SAME_FOR_ALL = ("test", *_DATA, "train.epochs", "seed", "genotype", "space", "model")
"""Fields of the training that are not tuned, since trials that differ in them are not comparable."""

_MAY_CHANGE = (
  *("study.trials", "seeds", "baseline", "patience", "storage", "training.data.train_portion"),  # the last one has no effect
  *(f"pool.{field.name}" for field in dataclasses.fields(executors.Config)),
)
"""Fields that may change when a tuning is resumed. Even if the storage changes, the study must be the one of this run."""


_ATTEMPTS = 5
"""Number of random points that are tried before a search space is refused because no trial can use it."""


class Tuning:
  """The parts of one tuning."""

  def __init__(self, config: ImageTuneConfig | LanguageTuneConfig, options: _flags.Options):
    """Checks everything that can be checked before a trial runs. Raises InputError."""
    self.config, self.root = config, expanded("--workdir", options.workdir).absolute()
    self.options = dataclasses.replace(options, workdir=str(self.root), preset="", profile_steps=())
    image = isinstance(config.training, ImageTrainConfig)
    for name in config.study.objective_names:
      fits = name not in (("perplexity",) if image else ("accuracy", "balanced_accuracy", "latency"))
      check(fits, "study.objectives", config.study.objectives, f"trainings on {'images' if image else 'text'} have no {name}")
    changes = {"test": False} | ({"data.train_portion": config.train_portion} if image else {})
    self.trial_training = config_lib.replace(config.training, changes)
    hint = f"{config.training.model} has no architecture to tune, so leave it out"
    check(not (config.joint and config.training.model), "joint", config.joint, hint)
    self.genotype = train.genotype_of(config.training, "training.genotype")
    architecture = SPACES[config.training.space] if config.joint else None
    text = config.search_space
    self.space = spaces.parse(text, self.trial_training, architecture)
    for path in (entry.path for entry in self.space.parameters):
      check(path not in _SAME_FOR_ALL, "search_space", path, "trials would not be comparable; take it out")
      reason = self.trial_training.idle(path)
      check(not reason, "search_space", path, reason)
    self.address = study.Address(config.storage or file_url(self.root / "study.db"), config.study_name, config.patience)
    self.id = _id_of(self.root) or uuid.uuid4().hex
    study.check_study(self.address, config.study, self.space, self._owner(config.study_name))

  def _owner(self, name: str) -> study.Owner:
    return study.Owner(self.id, self.root / ("trials" if name == self.config.study_name else "random_trials"))

  def check_range(self, executor: executors.Executor) -> None:
    """Builds the network of a trial in a worker. Raises InputError if no trial can use the values of the search space."""
    points = [spaces.Point({}, None)]  # the configuration itself
    if self.space.parameters_of(self.trial_training, self.genotype) is None:
      asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
      points = [self.space.suggest(asked.ask()) for _ in range(_ATTEMPTS)]
    for done in executors.run_all(executor, [(_trial.check_points, points, _trial.Payload(self.trial_training, self.options))]):
      if done is not None and done[1] is not None:
        raise InputError(f"no trial can use the search space: {done[1]}")

  def run_study(
    self,
    executor: executors.Executor,
    settings: StudyConfig,
    name: str,
    stopping: Callable[[], bool],
    first: bool,
    run_trial: engine.RunTrial = _trial.run_trial,
    exhausted: Callable[[list[FrozenTrial]], bool] = lambda trials: False,
  ) -> optuna.Study:
    """Runs the study `name` to its planned number of trials, or until it is `exhausted`; see `engine.Driver`."""
    address, owner = dataclasses.replace(self.address, name=name), self._owner(name)
    with explained(address.url):
      opened = study.open_study(address, settings, self.space, owner)
      default = self.space.parameters_of(self.trial_training, self.genotype) if first else None
      if first and default is None:
        print("the configuration itself is not in the search space, so it is not a trial", flush=True)
      known = len(opened.get_trials(deepcopy=False))
      if known:
        print(f"{name}: goes on with {counted(known, 'trial')}", flush=True)
      engine.Driver(
        study=opened,
        address=address,
        config=settings,
        space=self.space,
        executor=executor,
        run_trial=run_trial,
        payload=_trial.Payload(self.trial_training, self.options),
        folder=owner.trials,
        owner=owner,
        first=default,
        stopping=stopping,
        on_end=lambda trial: print(_tuning_report.trial_line(name, trial, settings), flush=True),
        exhausted=exhausted,
      ).run()
    return opened

  def final_config(self, trial: FrozenTrial, seed: int) -> ImageTrainConfig | LanguageTrainConfig:
    """Returns the configuration that trains the best trial on all training data and then tests it."""
    folder = self.root / "final" / "best"
    changes = {"seed": seed} | ({"data.train_portion": 1.0} if isinstance(self.config.training, ImageTrainConfig) else {})
    return _trial.config_of(config_lib.replace(self.config.training, changes), engine.point_of(trial), folder)

  def run_finals(self, executor: executors.Executor, best: FrozenTrial, stop: StopRequest) -> list[dict[str, float]]:
    """Retrains the best trial with every seed, or resumes these trainings. Returns the results. Raises InputError and Stopped."""
    folders = [self.root / "final" / f"seed_{seed:04d}" for seed in range(self.config.seeds)]
    settings = [dataclasses.replace(self.options, workdir=str(folder)) for folder in folders]
    jobs = [(_logged.run_final, self.final_config(best, seed), own) for seed, own in enumerate(settings)]
    results: dict[int, dict[str, float]] = {}
    for done in executors.run_all(executor, jobs):
      if done is not None:
        results[done[0]] = done[1]
      elif stop.requested:
        raise engine.Stopped
    return [results[seed] for seed in range(len(folders))]


def _id_of(root: pathlib.Path) -> str:
  """Returns the identifier that ties a study to its run, or an empty text if the run has not begun."""
  path = root / ID
  try:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
  except OSError as e:
    raise InputError(f"{path} cannot be read ({cause_of(e)}); set its permissions, or give another --workdir.") from None


ID = "study.id"
"""Name of the file with the identifier of a study."""


def run(config: ImageTuneConfig | LanguageTuneConfig, options: _flags.Options, given: set[str]) -> None:
  """Runs or resumes the tuning, reports it, and retrains and tests the best trial."""
  _flags.refuse_idle(config, given)
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  tuning = Tuning(config, options)
  with contextlib.ExitStack() as stack:
    executor = stack.enter_context(config.pool.open(functools.partial(_units.load, _units.to_import())))
    if not (tuning.root / "config.json").exists():
      tuning.check_range(executor)
    own = RunFolder.open(tuning.root, "tune", config_lib.flatten(config), _MAY_CHANGE, config_lib.defaults(config))
    folder = stack.enter_context(own)
    folder.keep(ID, f"{tuning.id}\n")
    stop = stack.enter_context(StopRequest(lambda text: print(text, flush=True)))
    try:
      _run(tuning, folder, executor, stop)
    except engine.Stopped:
      raise Stopped(f"stopped as requested; the same command goes on with the trials in {tuning.root}.") from None


def _run(tuning: Tuning, folder: RunFolder, executor: executors.Executor, stop: StopRequest) -> None:
  config, settings, training = tuning.config, tuning.config.study, tuning.config.training
  chosen = f"{settings.sampler} chooses" + (f" and {settings.pruner} ends early" if settings.pruner != "none" else "")
  network = f"an architecture of {training.space}" if config.joint else training.model or training.genotype
  each = f"each trains {network} on {training.data.dataset} for up to {counted(training.train.epochs, 'epoch')}"
  print(f"study '{config.study_name}': {counted(settings.trials, 'trial')}, which {chosen}; {each}", flush=True)
  print(f"what trials print: {tuning.root / 'trials'}/*.log", flush=True)
  opened = tuning.run_study(executor, settings, config.study_name, lambda: stop.requested, first=True)
  best = study.best_trials(opened)
  if not best:
    raise InputError(f"no trial of the study '{config.study_name}' finished, so there is no best one; give more --study.trials.")
  spent, table = study.epochs_of(opened), _tuning_report.best_table(opened, settings)
  print(f"\n{table.to_markdown()}")
  first = opened.trials[0]
  result: dict[str, Any] = {"best": _tuning_report.summary(best[0]), "trials": len(opened.trials), "epochs": spent}
  if "fixed_params" in first.system_attrs:  # it was asked for and not sampled
    result["default"] = _tuning_report.summary(first)
    if first.state is TrialState.COMPLETE:
      print(f"the configuration itself (trial 0): {settings.objective_names[0]} {first.values[0]:.4f}; the best: {best[0].values[0]:.4f}")
  if config.baseline:
    result["baseline"] = _baseline(tuning, executor, stop, spent)
  durable.write(tuning.root / "best_trials.md", table.to_markdown())
  durable.write(tuning.root / "trials.json", json.dumps([_tuning_report.summary(trial) for trial in opened.trials], indent=2) + "\n")
  pictures = _output.drawn(lambda: plots.save_plots(opened, settings.objective_names, folder.pictures, palette.CURVES))
  again = _trial.config_of(tuning.trial_training, engine.point_of(best[0]), tuning.root / "best")
  result["command"] = train.command_of(again, f"{tuning.root}_best")
  if config.seeds:
    result["test"] = _test(tuning, executor, best[0], stop)
  folder.write_result(result)
  if pictures:
    print(f"pictures ({', '.join(pictures)}): {folder.pictures}")
  _pages.save_or_warn(folder.path, LAUNCHER)
  print(f"the best trial again: {result['command']}")
  print(f"look at the study: optuna-dashboard {'STORAGE' if config.storage else shlex.quote(tuning.address.url)}")


def _baseline(tuning: Tuning, executor: executors.Executor, stop: StopRequest, epochs: int) -> dict[str, Any]:
  """Runs random search for as many epochs as the tuning took, rounded up to whole trainings. Prints its best trial."""
  whole = -(-epochs // tuning.config.training.train.epochs)
  settings = dataclasses.replace(tuning.config.study, sampler="random", pruner="none", trials=whole, seed=tuning.config.study.seed + 1)
  budget = f"{counted(whole, 'whole training')}, {counted(epochs, 'epoch')} or a little more"
  print(f"\nrandom search with the same budget: {budget}", flush=True)
  opened = tuning.run_study(executor, settings, f"{tuning.config.study_name}_random", lambda: stop.requested, first=False)
  best = study.best_trials(opened)
  if best:
    told = ", ".join(f"{name} {value:.4f}" for name, value in zip(settings.objective_names, best[0].values, strict=True))
    print(f"random search found {told} in {counted(study.epochs_of(opened), 'epoch')}\n", flush=True)
  return {"best": _tuning_report.summary(best[0]) if best else None, "trials": len(opened.trials), "epochs": study.epochs_of(opened)}


def _test(tuning: Tuning, executor: executors.Executor, best: FrozenTrial, stop: StopRequest) -> dict[str, Any]:
  """Retrains and tests the best trial with every seed, and prints mean and standard deviation."""
  print(f"retraining trial {best.number} on all training data, with {counted(tuning.config.seeds, 'seed')}", flush=True)
  outcomes = [train.outcome_of(result) for result in tuning.run_finals(executor, best, stop)]
  values = np.array([outcome.value for outcome in outcomes])
  spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
  measure, unit, _ = outcomes[0]
  of = f"mean and standard deviation of {len(values)} trainings" if len(values) > 1 else "one training"
  print(f"{measure} {values.mean():.2f}{spread}{unit} ({of})\n", flush=True)
  return {"measure": measure, "unit": unit.strip(), "values": values.tolist(), "mean": float(values.mean())}


LAUNCHER = _flags.Launcher("tune", ImageTuneConfig(), run, __doc__, option_names=_flags.options_without("profile_steps"))
main = LAUNCHER.main
