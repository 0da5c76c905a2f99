"""Pictures of a study: history, importances, parallel coordinates, contours, and the Pareto front; drawn by Optuna with matplotlib."""

import pathlib
import warnings
from collections.abc import Callable, Sequence

import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import TrialState

_MOST = 4
"""Parameters in a picture of pairs: the most important ones."""


def save_plots(study: optuna.Study, objectives: Sequence[str], folder: pathlib.Path) -> list[str]:
  """Writes the pictures that the study has trials for, as PNG and SVG, and returns their names.

  Args:
    study: the study.
    objectives: names of its objectives, for the axes.
    folder: where to write; it is made.
  """
  from optuna.visualization import matplotlib as draw

  complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
  if not complete:
    return []
  main, parameters = (lambda trial: trial.values[0]), _parameters(study, complete)
  target = {"target": main, "target_name": objectives[0]} if len(objectives) > 1 else {"target_name": objectives[0]}
  pictures: dict[str, Callable[[], Axes]] = {"history": lambda: draw.plot_optimization_history(study, **target)}
  if len(parameters) > 1:
    pictures["parallel_coordinates"] = lambda: draw.plot_parallel_coordinate(study, params=parameters, **target)
    pictures["contour"] = lambda: draw.plot_contour(study, params=parameters, **target)
  if len(complete) > 3 and len({trial.values[0] for trial in complete}) > 1 and parameters:
    pictures["importance"] = lambda: draw.plot_param_importances(study, params=parameters, **target)
  if len(objectives) in (2, 3):
    pictures["pareto_front"] = lambda: draw.plot_pareto_front(study, target_names=list(objectives))
  if any(trial.intermediate_values for trial in complete):
    pictures["epochs"] = lambda: draw.plot_intermediate_values(study)
  folder.mkdir(parents=True, exist_ok=True)
  with warnings.catch_warnings(), pyplot.rc_context({"font.size": 8}):
    warnings.simplefilter("ignore")  # that Optuna's drawing is experimental, and that an axis has a single value
    for name, plot in pictures.items():
      _save(plot(), folder / name)
  return list(pictures)


def _parameters(study: optuna.Study, complete: Sequence[optuna.trial.FrozenTrial]) -> list[str]:
  """Returns the parameters that all complete trials have and that vary, the most important first, not more than fit a picture."""
  common = set.intersection(*(set(trial.params) for trial in complete))
  varying = [name for name in complete[0].params if name in common and len({trial.params[name] for trial in complete}) > 1]
  if len(varying) <= _MOST or len(complete) < 4 or len({trial.values[0] for trial in complete}) < 2:
    return varying[:_MOST]
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, params=varying, evaluator=evaluator, target=lambda trial: trial.values[0])
  return list(found)[:_MOST]


def _save(axes: Axes, path: pathlib.Path) -> None:
  """Writes the figure of some axes; for several axes Optuna returns an array of them."""
  figure: Figure = (axes if isinstance(axes, Axes) else axes.flat[0]).figure
  figure.set_size_inches((9, 6) if isinstance(axes, Axes) else (15, 13))
  for kind in ("png", "svg"):
    figure.savefig(path.with_suffix(f".{kind}"), dpi=130, bbox_inches="tight")
  pyplot.close(figure)
