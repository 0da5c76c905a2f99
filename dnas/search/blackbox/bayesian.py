"""Bayesian optimization: Optuna's samplers as strategies.

Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019. `tpe`: Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", NIPS 2011, by default with one density over all decisions, as in Falkner, Klein and Hutter, "BOHB", ICML
2018. `gp`: a Gaussian process, which needs PyTorch.

Every decision of the space is a categorical parameter. The state is the seed and the trials. An Optuna study, which changes in place, is
only a cache of it. Every ask has a random stream of its own, so a study rebuilt from the trials gives the same proposals. The proposals are
reproducible for one version of Optuna.
"""

import collections
import dataclasses
import importlib.util
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from dnas.core.config import check_at_most, check_positive, check_types
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import DecisionSpace, Space
from dnas.search.blackbox.base import STRATEGIES, generator, score_of
from dnas.search.blackbox.decisions import of_decisions

MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
"""Maps a seed to a sampler."""


@STRATEGIES.register("tpe")
@dataclasses.dataclass(frozen=True)
class TpeConfig:
  """Tree-structured Parzen estimator.

  Attributes:
    startup: random trials before the first density is fitted.
    candidates: number of candidates drawn from the density of the good trials.
    multivariate: whether to fit one joint density over all decisions; else one density per decision.
  """

  startup: int = 10
  candidates: int = 24
  multivariate: bool = True

  def __post_init__(self):
    check_types(self)
    check_positive(startup=self.startup, candidates=self.candidates)
    check_at_most(10**6, candidates=self.candidates)

  def on(self, space: Space) -> "Bayesian":
    """See `base.Settings`."""
    return Bayesian(of_decisions(space), self._sampler, joint=self.multivariate)

  def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
      seed=seed,
      n_startup_trials=self.startup,
      n_ei_candidates=self.candidates,
      multivariate=self.multivariate,
      constant_liar=True,
    )


@STRATEGIES.register("gp")
@dataclasses.dataclass(frozen=True)
class GpConfig:
  """Gaussian process.

  Attributes:
    startup: random trials before the process is first fitted.
  """

  startup: int = 10

  def __post_init__(self):
    check_types(self)
    check_positive(startup=self.startup)

  def on(self, space: Space) -> "Bayesian":
    """See `base.Settings`. Also raises InputError if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
      raise InputError("strategy 'gp' needs the package torch, which is not installed; install it with 'pip install torch', or give 'tpe'.")
    return Bayesian(of_decisions(space), self._sampler, joint=True)

  def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.startup)


@dataclasses.dataclass(frozen=True)
class Trial:
  """A trial of Bayesian optimization.

  Attributes:
    decisions: decisions of its architecture.
    score: its score; None while it runs, minus infinity if it failed.
  """

  decisions: tuple[int, ...]
  score: float | None = None


@dataclasses.dataclass(frozen=True)
class State:
  """The state of Bayesian optimization.

  Attributes:
    seed: seed of all draws.
    trials: all trials, in the order in which they were asked.
  """

  seed: int
  trials: tuple[Trial, ...] = ()


class Bayesian:
  """An Optuna sampler as a strategy (a `base.Strategy`)."""

  def __init__(self, space: DecisionSpace, make_sampler: MakeSampler, *, joint: bool):
    """Prepares the parameters.

    Args:
      space: the search space.
      make_sampler: makes the sampler of an ask from its seed.
      joint: whether the sampler draws all decisions together.

    Raises:
      InputError: if every decision of the space has a single value.
    """
    if max(space.decisions, default=1) < 2:
      raise InputError(f"space '{space.name}' has a single architecture, so there is nothing to model; give the space more operations.")
    self._space, self._make_sampler, self._joint = space, make_sampler, joint
    self._parameters: dict[str, BaseDistribution] = {
      f"{number:03d}": CategoricalDistribution(range(size)) for number, size in enumerate(space.decisions)
    }
    self._studies = _Studies()

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(seed)

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Draws from a sampler that knows all trials, including the running ones; see `base.Strategy`."""
    study = self._studies.taken(state) or self._rebuilt(state)
    sampler = self._seeded(state)
    study.sampler = _FixedSpace(sampler, self._parameters) if self._joint else sampler
    values = study.ask(self._parameters).params
    decisions = tuple(values[name] for name in self._parameters)
    after = State(state.seed, (*state.trials, Trial(decisions)))
    self._studies.put(after, study)
    return Proposal(self._space.decode(decisions)), after

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Completes the first running trial of this architecture; see `base.Strategy`.

    Raises:
      InputError: if no trial of this architecture is running: it was never asked, or was told before.
    """
    score, trial = score_of(evaluation), Trial(self._space.encode(proposal.genotype))
    if trial not in state.trials:
      raise InputError(f"no trial of {proposal.genotype} is running; tell each proposal that was asked once.")
    number = state.trials.index(trial)
    trials = (*state.trials[:number], dataclasses.replace(trial, score=score), *state.trials[number + 1 :])
    after = State(state.seed, trials)
    study = self._studies.taken(state)
    if study:
      _tell(study, number, score)
      self._studies.put(after, study)
    return after

  def _seeded(self, state: State) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # joint densities, in Optuna 4
      return self._make_sampler(int(generator(state.seed, len(state.trials)).integers(2**32)))

  def _rebuilt(self, state: State) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # do not log the creation of a study
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
    optuna.logging.set_verbosity(verbosity)
    for trial in state.trials:
      study.add_trial(self._frozen(trial))
    return study

  def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    values = dict(zip(self._parameters, trial.decisions, strict=True))
    if trial.score is None or trial.score == -math.inf:
      state = states.RUNNING if trial.score is None else states.FAIL
      return optuna.trial.create_trial(state=state, params=values, distributions=self._parameters)
    return optuna.trial.create_trial(value=trial.score, params=values, distributions=self._parameters)


def _tell(study: optuna.Study, number: int, score: float) -> None:
  if score == -math.inf:
    study.tell(number, state=optuna.trial.TrialState.FAIL)
  else:
    study.tell(number, score)


class _FixedSpace(optuna.samplers.BaseSampler):
  """A sampler with a fixed joint space. Otherwise Optuna infers the space from all trials at every ask."""

  def __init__(self, sampler: optuna.samplers.BaseSampler, parameters: dict[str, optuna.distributions.BaseDistribution]):
    self._sampler, self._parameters = sampler, parameters

  def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return self._parameters

  def sample_relative(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
    return self._sampler.sample_relative(study, trial, search_space)

  def sample_independent(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any) -> Any:
    return self._sampler.sample_independent(study, trial, param_name, param_distribution)

  def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    self._sampler.before_trial(study, trial)

  def after_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, state: Any, values: Any) -> None:
    self._sampler.after_trial(study, trial, state, values)


class _Studies:
  """A cache of the studies of the latest states. `ask` and `tell` move a study on to the next state; older states need a rebuild."""

  _MOST = 64

  def __init__(self):
    self._studies: collections.OrderedDict[int, tuple[weakref.ref[State], optuna.Study]] = collections.OrderedDict()

  def put(self, state: State, study: optuna.Study) -> None:
    """Stores the study of a state, and drops the oldest study if there are more than `_MOST`."""
    self._studies[id(state)] = weakref.ref(state), study
    if len(self._studies) > self._MOST:
      self._studies.popitem(last=False)

  def taken(self, state: State) -> optuna.Study | None:
    """Removes and returns the study of this state object, since the caller will change the study; None if it is not stored."""
    alive, study = self._studies.pop(id(state), (None, None))
    return study if alive is not None and alive() is state else None
