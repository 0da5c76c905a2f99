"""The launchers whose runs have a page with the command that repeats them. A tuning needs Optuna; where that is missing, it has no page."""

from dnas.core.extras import can_import
from dnas.launchers import compare, search, train

LAUNCHERS = {module.LAUNCHER.name: module.LAUNCHER for module in (search, train, compare)}
if can_import("optuna"):
  from dnas.launchers import tune

  LAUNCHERS[tune.LAUNCHER.name] = tune.LAUNCHER
