"""Bayesian optimization by Optuna's samplers.

Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019. `tpe`: Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", NIPS 2011, by default with one density over all decisions, as in Falkner, Klein and Hutter, "BOHB", ICML
2018. `gp`: a Gaussian process, which needs PyTorch.
"""

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any

from dnas.core.config import check_at_most, check_positive, check_types
from dnas.core.errors import InputError
from dnas.core.spaces import Space
from dnas.search.blackbox.base import STRATEGIES
from dnas.search.blackbox.by_optuna import strategy_class
from dnas.search.blackbox.decisions import of_decisions

if TYPE_CHECKING:
  from dnas.search.blackbox.by_optuna.strategy import OptunaStrategy


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

  def on(self, space: Space) -> "OptunaStrategy":
    """See `base.Settings`. Also raises InputError if Optuna is not installed."""
    return strategy_class("tpe")(of_decisions(space), self._sampler, joint=self.multivariate)

  def _sampler(self, seed: int) -> Any:
    import optuna  # here, because it is not part of the default install

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

  def on(self, space: Space) -> "OptunaStrategy":
    """See `base.Settings`. Also raises InputError if Optuna or PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
      raise InputError("strategy 'gp' needs the package torch, which is not installed; install it with 'pip install torch', or give 'tpe'.")
    return strategy_class("gp")(of_decisions(space), self._sampler, joint=True)

  def _sampler(self, seed: int) -> Any:
    import optuna  # here, because it is not part of the default install

    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.startup)
