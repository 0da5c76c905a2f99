"""Optuna's samplers as strategies.

Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019.

Every decision of the space is a categorical parameter. The state is the seed and the trials. An Optuna study, which changes in place, is
only a cache of it. Every ask has a random stream of its own, so a study rebuilt from the trials gives the same proposals. The proposals are
reproducible for one version of Optuna.
"""

import collections
import dataclasses
import math
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import DecisionSpace
from dnas.search.blackbox.base import cost_of, generator, score_of

MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
"""Maps a seed to a sampler."""


@dataclasses.dataclass(frozen=True)
class Trial:
  """A trial.

  Attributes:
    decisions: decisions of its architecture.
    score: its score; None while it runs, minus infinity if it failed.
    costs: its costs, in the order of the strategy; none while it runs.
    told: number of trials that had been asked when its score was told; None while it runs.
  """

  decisions: tuple[int, ...]
  score: float | None = None
  costs: tuple[float, ...] = ()
  told: int | None = None


@dataclasses.dataclass(frozen=True)
class State:
  """The state of an Optuna strategy.

  Attributes:
    seed: seed of all draws.
    trials: all trials, in the order in which they were asked.
  """

  seed: int
  trials: tuple[Trial, ...] = ()


class OptunaStrategy:
  """An Optuna sampler as a strategy (a `base.Strategy`)."""

  def __init__(
    self, space: DecisionSpace, make_sampler: MakeSampler, *, joint: bool, costs: Sequence[str] = (), remembers: bool = False
  ):
    """Prepares the parameters.

    Args:
      space: the search space.
      make_sampler: makes the sampler of an ask from its seed.
      joint: whether the sampler draws all decisions together.
      costs: names of the costs that are minimized beside the maximized score; evaluations have them in their metrics.
      remembers: whether the sampler notes things in a study beside the trials, such as generations, when it is asked.

    Raises:
      InputError: if every decision of the space has a single value.
    """
    if max(space.decisions, default=1) < 2:
      raise InputError(f"space '{space.name}' has a single architecture, so there is nothing to model; give the space more operations.")
    self._costs, self._remembers = tuple(costs), remembers
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
    study = self._studies.taken(state) or (self._repeated(state) if self._remembers else self._rebuilt(state))
    decisions = self._asked(study, state.seed, len(state.trials))
    after = State(state.seed, (*state.trials, Trial(decisions)))
    self._studies.put(after, study)
    return Proposal(self._space.decode(decisions)), after

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Completes the first running trial of this architecture; see `base.Strategy`.

    Raises:
      InputError: if no trial of this architecture is running: it was never asked, or was told before; or if a cost is not in the metrics.
    """
    score, costs = score_of(evaluation), tuple(cost_of(evaluation, name) for name in self._costs)
    trial = Trial(self._space.encode(proposal.genotype))
    if trial not in state.trials:
      raise InputError(f"no trial of {proposal.genotype} is running; tell each proposal that was asked once.")
    number = state.trials.index(trial)
    done = dataclasses.replace(trial, score=score, costs=costs, told=len(state.trials))
    trials = (*state.trials[:number], done, *state.trials[number + 1 :])
    after = State(state.seed, trials)
    study = self._studies.taken(state)
    if study:
      _tell(study, number, done)
      self._studies.put(after, study)
    return after

  def _asked(self, study: optuna.Study, seed: int, number: int) -> tuple[int, ...]:
    """Returns the decisions of trial `number` of a study that has all trials before it."""
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # joint densities, in Optuna 4
      sampler = self._make_sampler(int(generator(seed, number).integers(2**32)))
    study.sampler = _FixedSpace(sampler, self._parameters) if self._joint else sampler
    values = study.ask(self._parameters).params
    return tuple(values[name] for name in self._parameters)

  def _empty(self) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # do not log the creation of a study
    kinds = optuna.study.StudyDirection
    directions = [kinds.MAXIMIZE, *(kinds.MINIMIZE for _ in self._costs)]
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=directions)
    optuna.logging.set_verbosity(verbosity)
    return study

  def _rebuilt(self, state: State) -> optuna.Study:
    study = self._empty()
    for trial in state.trials:
      study.add_trial(self._frozen(trial))
    return study

  def _repeated(self, state: State) -> optuna.Study:
    """Returns a study of these trials that was asked and told all of them again, in the order in which they were."""
    study = self._empty()
    for asked in range(len(state.trials) + 1):
      for number, trial in enumerate(state.trials):
        if trial.told == asked:
          _tell(study, number, trial)
      if asked < len(state.trials):
        self._asked(study, state.seed, asked)
    return study

  def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    values = dict(zip(self._parameters, trial.decisions, strict=True))
    if trial.score is None or trial.score == -math.inf:
      state = states.RUNNING if trial.score is None else states.FAIL
      return optuna.trial.create_trial(state=state, params=values, distributions=self._parameters)
    return optuna.trial.create_trial(values=[trial.score, *trial.costs], params=values, distributions=self._parameters)


def _tell(study: optuna.Study, number: int, trial: Trial) -> None:
  if trial.score is None or trial.score == -math.inf:
    study.tell(number, state=optuna.trial.TrialState.FAIL)
  else:
    study.tell(number, [trial.score, *trial.costs])


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
