"""Optuna's samplers as strategies. Optuna is imported once such a strategy is made, since it is not part of the default install."""

from typing import TYPE_CHECKING

from dnas.core.extras import needed_by

if TYPE_CHECKING:
  from dnas.search.blackbox.by_optuna.strategy import OptunaStrategy


def strategy_class(name: str) -> "type[OptunaStrategy]":
  """Returns the class of the strategies. Raises InputError if Optuna is not installed; `name` is the strategy that needs it."""
  with needed_by(f"strategy '{name}'"):
    from dnas.search.blackbox.by_optuna.strategy import OptunaStrategy
  return OptunaStrategy
