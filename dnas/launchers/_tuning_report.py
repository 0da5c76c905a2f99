"""What a person reads of a tuning: a line for every trial, and the table of the best."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dnas.core.errors import counted
from dnas.report.tables import Table
from dnas.tune import study
from dnas.tune.study import Config as StudyConfig


def trial_line(name: str, trial: FrozenTrial, settings: StudyConfig) -> str:
  """Returns the line that a person sees of a trial that has ended."""
  values, decisions = trial.user_attrs["point"]
  told = "  ".join(f"{path.rpartition('.')[2]} {_shown(value)}" for path, value in values.items())
  told += f"  architecture {''.join(f'{value:x}' for value in decisions)}" if decisions else ""
  origin = f", goes on with trial {trial.user_attrs['promotes']}" if "promotes" in trial.user_attrs else ""
  if trial.state is TrialState.COMPLETE:
    outcome = "  ".join(f"{objective} {value:.4g}" for objective, value in zip(settings.objective_names, trial.values, strict=True))
  elif trial.state is TrialState.PRUNED:
    last = f" at {trial.intermediate_values[trial.last_step]:.4g}" if trial.last_step is not None else ""
    after = counted(trial.user_attrs.get("pruned_at", 0), "epoch")
    ended = f"pruned after {after}" if "pruned_at" in trial.user_attrs else "ended with the budget"
    outcome = "did not stay finite" if "diverged" in trial.user_attrs else f"{ended}{last}"
  else:
    outcome = f"failed: {trial.user_attrs.get('error', '')}"
  return f"{name} {trial.number:>3}  {outcome}  ({told}{origin})"


def _shown(value: Any) -> str:
  """Returns the value of a field for people."""
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def best_table(opened: optuna.Study, settings: StudyConfig, count: int = 10) -> Table:
  """Returns the best trials, or the Pareto front, as a table."""
  best = study.best_trials(opened)[:count]
  paths = list(dict.fromkeys(path for trial in best for path in trial.user_attrs["point"][0]))
  header = ("trial", *settings.objective_names, *paths, "epochs", "weights")
  rows = []
  for trial in best:
    values = trial.user_attrs["point"][0]
    told = [_shown(values[path]) if path in values else "–" for path in paths]
    weights = f"{trial.user_attrs['weights']:,}"
    rows.append((str(trial.number), *(f"{value:.4f}" for value in trial.values), *told, str(trial.user_attrs["epochs"]), weights))
  title = "the Pareto front" if len(settings.objective_names) > 1 else "the best trials"
  return Table(f"{title} of {len(opened.trials)}, by validation", header, tuple(rows))


def summary(trial: FrozenTrial) -> dict[str, Any]:
  """Returns what files keep of a trial."""
  kept = ("point", "epochs", "seconds", "folder", "weights", "promotes", "pruned_at", "diverged", "error")
  notes = {name: trial.user_attrs[name] for name in kept if name in trial.user_attrs}
  return {"number": trial.number, "state": trial.state.name.lower(), "values": trial.values, **notes}
