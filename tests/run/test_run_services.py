"""Weights & Biases and MLflow, with fakes in the place of their packages: what they are told, and that a failure ends no run."""

import sys
import types

import pytest

from dnas.core.errors import InputError
from dnas.run import services

ABOUT = services.About("0123456789abcdef", "first", {"darts.epochs": 2, "name with (signs)": "a"}, "runs/first")


class FakeWandb(types.ModuleType):
  """Keeps a run by its id. As the service does, it refuses a step below the next one."""

  def __init__(self):
    super().__init__("wandb")
    self.runs, self.given, self.fails = {}, [], False

  def Settings(self, **settings):
    return settings

  def init(self, **given):
    self.given.append(given)
    if self.fails:
      raise RuntimeError("not logged in\nsecond line")
    run = self.runs.setdefault(given["id"], types.SimpleNamespace(step=0, points=[], ended=0))

    def log(scalars, step, commit):
      assert step >= run.step and commit and not self.fails, "a step that is refused"
      run.points.append((step, scalars))
      run.step = step + 1

    def finish():
      run.ended += 1

    run.log, run.finish = log, finish
    return run


@pytest.fixture
def wandb(monkeypatch):
  fake = FakeWandb()
  monkeypatch.setitem(sys.modules, "wandb", fake)
  monkeypatch.delenv("WANDB_PROJECT", raising=False)
  return fake


def write(service, steps, said=print):
  writer = services.opened(service, ABOUT, said)
  for step in steps:
    writer.write(step, {"valid/loss": step / 2, "valid/acc (top)": 0.5, "bad": float("nan")}, 100.0 + step)
  writer.close()


def test_wandb_gets_each_step_once_however_often_the_run_is_resumed(wandb, monkeypatch):
  write("wandb", [8, 16])
  monkeypatch.setenv("WANDB_PROJECT", "mine")
  write("wandb", [8, 16, 24])
  (run,) = wandb.runs.values()
  assert [step for step, _ in run.points] == [8, 16, 24] and run.ended == 2
  assert run.points[0][1] == {"valid/loss": 4.0, "valid/acc (top)": 0.5}, "what is not finite has no place in a curve"
  first, second = wandb.given
  assert (first["project"], second["project"]) == ("dnas", "mine") and first["id"] == ABOUT.identity and first["resume"] == "allow"
  assert first["config"] == ABOUT.config and first["dir"] == "runs/first" and first["name"] == "first"


def test_a_service_that_fails_later_is_told_once_and_one_that_cannot_be_opened_is_refused(wandb):
  said = []
  writer = services.opened("wandb", ABOUT, said.append)
  wandb.fails = True
  for step in (1, 2):
    writer.write(step, {"loss": 1.0})
  writer.close()
  (line,) = said
  assert line.startswith("warning: wandb takes no metrics any more (a step that is refused") and "metrics.jsonl has all of them" in line
  refusal = r"^--metrics_to=wandb cannot be used \(not logged in\); set up the service, or leave the flag out\.$"
  with pytest.raises(InputError, match=refusal):
    services.opened("wandb", ABOUT, said.append)


class FakeClient:
  """The part of an MLflow client that the writer uses; all clients share one store."""

  store: dict = {}

  def get_experiment_by_name(self, name):
    return types.SimpleNamespace(experiment_id="7") if name in self.store.setdefault("experiments", []) else None

  def create_experiment(self, name):
    self.store["experiments"].append(name)
    return "7"

  def search_runs(self, experiments, condition, max_results):
    runs = self.store.setdefault("runs", {})
    return [run for run in runs.values() if experiments == ["7"] and condition == f"tags.identity = '{run.data.tags['identity']}'"]

  def create_run(self, experiment, tags, run_name):
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_name), data=types.SimpleNamespace(tags=dict(tags)))
    run.status, run.params, run.metrics = "RUNNING", {}, []
    self.store["runs"][run_name] = run
    return run

  def update_run(self, run_id, status):
    self.store["runs"][run_id].status = status

  def set_terminated(self, run_id):
    self.store["runs"][run_id].status = "FINISHED"

  def log_batch(self, run_id, metrics=(), params=(), tags=()):
    run = self.store["runs"][run_id]
    run.params.update(params)
    run.metrics += metrics
    run.data.tags.update(tags)


@pytest.fixture
def mlflow(monkeypatch):
  fake, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
  entities.Metric, entities.Param, entities.RunTag = (lambda *values: values for _ in range(3))
  fake.entities, fake.MlflowClient = entities, FakeClient
  monkeypatch.setitem(sys.modules, "mlflow", fake)
  monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
  monkeypatch.setattr(FakeClient, "store", {})
  return fake


def test_mlflow_gets_each_step_once_and_names_that_it_takes(mlflow):
  write("mlflow", [8, 16])
  write("mlflow", [8, 16, 24])
  (run,) = FakeClient.store["runs"].values()
  assert [metric for metric in run.metrics if metric[0] == "valid/loss"] == [
    ("valid/loss", 4.0, 108_000, 8),
    ("valid/loss", 8.0, 116_000, 16),
    ("valid/loss", 12.0, 124_000, 24),
  ]
  assert {metric[0] for metric in run.metrics} == {"valid/loss", "valid/acc _top_"}
  assert run.params == {"darts.epochs": "2", "name with _signs_": "a"} and run.status == "FINISHED"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "mlflow", None)
  with pytest.raises(InputError, match=r"^--metrics_to=mlflow needs the package mlflow, .*: pip install -e '.\[mlflow\]' in a checkout\.$"):
    services.check(("mlflow",))
  services.check(())
