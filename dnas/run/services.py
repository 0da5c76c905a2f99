"""Writers of metrics for services beside TensorBoard: Weights & Biases, and MLflow. Each is an optional package.

A run has the same name there however often it is resumed: `identity` goes with the folder. A resumed run writes its whole history again; a
service is given only the steps that it lacks. Where the metrics go and who may read them is the service's own configuration, by its
environment variables: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dnas.core.errors import InputError, first_line
from dnas.core.extras import needed_by
from dnas.run.writers import Writer, finite

PROJECT = "dnas"
"""Name of the project or experiment if the environment names none."""


class About(NamedTuple):
  """What a service is told of a run.

  Attributes:
    identity: what tells the run from all others, of letters and digits.
    name: name for people.
    config: values of its settings by flag.
    folder: folder of the run.
  """

  identity: str
  name: str
  config: Mapping[str, Any]
  folder: str


class WandbWriter:
  """Writes to Weights & Biases."""

  def __init__(self, about: About):
    """Opens the run, or opens it again. See `opened`."""
    import wandb  # pyright: ignore[reportMissingImports]  # an optional package

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    settings = wandb.Settings(silent=True)
    self._run: Any = wandb.init(
      project=project, id=about.identity, name=about.name, config=dict(about.config), dir=about.folder, resume="allow", settings=settings
    )

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """See `Writer`. The service notes its own time."""
    if step >= self._run.step:  # it would refuse an earlier one
      self._run.log(finite(scalars), step=step, commit=True)

  def close(self) -> None:
    """See `Writer`."""
    self._run.finish()


class MlflowWriter:
  """Writes to MLflow."""

  _MOST, _LONGEST = 100, 500  # parameters of a call, and characters of one, that every server takes

  def __init__(self, about: About):
    """Opens the run, or opens it again. See `opened`."""
    import mlflow  # pyright: ignore[reportMissingImports]  # an optional package
    from mlflow import entities  # pyright: ignore[reportMissingImports]

    self._entities: Any = entities
    self._client = mlflow.MlflowClient()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = self._client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else self._client.create_experiment(experiment)
    found = self._client.search_runs([number], f"tags.identity = '{about.identity}'", max_results=1)
    if found:
      self._id, self._step = found[0].info.run_id, int(found[0].data.tags.get("step", -1))
      self._client.update_run(self._id, status="RUNNING")
      return
    self._step = -1
    self._id = self._client.create_run(number, tags={"identity": about.identity}, run_name=about.name).info.run_id
    params = [entities.Param(_name(name), str(value)[: self._LONGEST]) for name, value in about.config.items()]
    for begin in range(0, len(params), self._MOST):
      self._client.log_batch(self._id, params=params[begin : begin + self._MOST])

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """See `Writer`."""
    if step <= self._step:
      return
    milliseconds = round(1000 * (time.time() if wall_time is None else wall_time))
    metrics = [self._entities.Metric(_name(name), value, milliseconds, step) for name, value in finite(scalars).items()]
    self._client.log_batch(self._id, metrics=metrics, tags=[self._entities.RunTag("step", str(step))])
    self._step = step

  def close(self) -> None:
    """See `Writer`."""
    self._client.set_terminated(self._id)


def _name(name: str) -> str:
  """Returns a name that MLflow takes."""
  return re.sub(r"[^\w\-. :/]", "_", name)


class _Forgiving:
  """A writer whose failures end the writing, and not the run: its metrics are in the folder of the run too."""

  def __init__(self, service: str, writer: Writer, say: Callable[[str], None]):
    self._service, self._writer, self._say = service, writer, say

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    self._try(lambda writer: writer.write(step, scalars, wall_time))

  def close(self) -> None:
    self._try(lambda writer: writer.close())

  def _try(self, do: Callable[[Any], None]) -> None:
    if self._writer is None:
      return
    try:
      do(self._writer)
    except Exception as e:  # a service can raise anything
      self._writer = None
      reason = first_line(e).rstrip(".")
      self._say(f"warning: {self._service} takes no metrics any more ({reason}); the run goes on, and metrics.jsonl has all of them")


SERVICES: Mapping[str, Callable[[About], Writer]] = {"wandb": WandbWriter, "mlflow": MlflowWriter}
"""Name of a service, which is that of its module and of the extra with it, to its writer."""


def check(services: tuple[str, ...]) -> None:
  """Raises InputError if the package of a service is not installed."""
  for name in services:
    try:
      with needed_by(f"--metrics_to={name}"):
        __import__(name)
    except InputError:
      raise
    except Exception as e:
      why = f"its package does not start: {first_line(e).rstrip('.')}"
      raise InputError(f"--metrics_to={name} cannot be used ({why}); install it anew.") from None


def opened(service: str, about: About, say: Callable[[str], None]) -> Writer:
  """Returns the writer of a service for a run. If it fails later, `say` is told so once, and the run goes on.

  Raises:
    InputError: if the run cannot be opened there.
  """
  try:
    return _Forgiving(service, SERVICES[service](about), say)
  except Exception as e:  # a service can raise anything
    hint = "set up the service, or leave the flag out"
    raise InputError(f"--metrics_to={service} cannot be used ({first_line(e).rstrip('.')}); {hint}.") from None
