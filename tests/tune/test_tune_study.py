"""Studies: each trial once, the same trials for the same seed, workers and drivers that die, data bases that go away."""

import contextlib
import gc
import importlib.util
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import numpy as np
import optuna
import pytest
import sqlalchemy
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from tune_toy import EPOCHS, SPACE, WHOLE, Config, InProcess, address_of, assert_each_once, driver, told

from dnas.tune import executors, plots, storage, study
from dnas.tune.ray_executor import Ray

HALVING = study.Config(trials=12, sampler="tpe", startup=4, pruner="successive_halving", min_epochs=1, eta=3)
HERE = pathlib.Path(__file__).parent


def test_one_worker_asks_the_same_whatever_happens_in_between(tmp_path):
  for name in ("whole", "broken"):
    (tmp_path / name).mkdir()
  whole = driver(tmp_path / "whole", address_of(tmp_path / "whole"), HALVING, InProcess())
  whole.run()
  ended = []
  while True:  # stopped after every third trial, and begun anew
    broken = driver(tmp_path / "broken", address_of(tmp_path / "broken"), HALVING, InProcess())
    broken.on_end = ended.append
    count = len(ended)
    broken.stopping = lambda count=count: len(ended) >= count + 3
    with contextlib.suppress(Exception):
      broken.run()
      break
  assert told(broken.study) == told(whole.study)
  assert_each_once(whole.study, tmp_path / "whole", HALVING.trials)


def test_halving_promotes_and_trains_no_epoch_twice(tmp_path):
  run = driver(tmp_path, address_of(tmp_path), HALVING, InProcess())
  run.run()
  promoted = [trial for trial in run.study.trials if "promotes" in trial.user_attrs]
  assert promoted
  for trial in promoted:
    before = run.study.trials[trial.user_attrs["promotes"]]
    assert before.state is TrialState.PRUNED and before.params == trial.params and trial.user_attrs["resumed"] == before.last_step
    assert trial.user_attrs["folder"] == before.user_attrs["folder"]
  assert study.epochs_of(run.study) <= HALVING.trials * EPOCHS / 2
  assert_each_once(run.study, tmp_path, HALVING.trials)


def test_the_configuration_itself_is_the_first_trial(tmp_path):
  first = SPACE.parameters_of(Config(), None)
  run = driver(tmp_path, address_of(tmp_path), WHOLE, InProcess(), first=first)
  run.run()
  assert run.study.trials[0].params == first and len(run.study.trials) == WHOLE.trials


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsga2"])
def test_every_sampler_asks_within_the_space_and_in_one_order(sampler, tmp_path):
  config = study.Config(trials=6, sampler=sampler, startup=3, population=3, seed=5)
  outcomes = []
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    run = driver(tmp_path / name, address_of(tmp_path / name), config, InProcess())
    run.run()
    outcomes.append([trial.params for trial in run.study.trials])
  assert outcomes[0] == outcomes[1] and len({params["learning_rate"] for params in outcomes[0]}) > 3


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_every_pruner_ends_some_trials_early(pruner, tmp_path):
  config = study.Config(trials=14, sampler="random", pruner=pruner, min_epochs=2, eta=3)
  run = driver(tmp_path, address_of(tmp_path), config, InProcess())
  run.run()
  pruned = [trial for trial in run.study.trials if trial.state is TrialState.PRUNED]
  assert pruned and all(2 <= trial.user_attrs["pruned_at"] == trial.last_step < EPOCHS for trial in pruned)
  assert_each_once(run.study, tmp_path, config.trials)


def test_workers_that_are_killed_lose_nothing(tmp_path):
  with executors.Local(8) as pool:
    run = driver(tmp_path, address_of(tmp_path), HALVING, pool, {"kill": (0, 5, 7), "seconds": 0.01})
    run.run()
  assert list((tmp_path / "trials").glob("*.killed"))
  assert_each_once(run.study, tmp_path, HALVING.trials)


def drive(folder, url, trials, workers, seconds):
  """A driver as a process of its own."""
  config = study.Config(trials=trials, sampler="random")
  with executors.Local(workers) as pool:
    driver(pathlib.Path(folder), study.Address(url, "tune", 120.0), config, pool, {"seconds": seconds}).run()


def test_a_driver_that_is_killed_is_followed_by_another(tmp_path):
  process = multiprocessing.get_context("spawn").Process(target=drive, args=(str(tmp_path), address_of(tmp_path).url, 6, 2, 0.2))
  process.start()
  until = time.monotonic() + 60
  while time.monotonic() < until and len(list((tmp_path / "trials").glob("trial_*"))) < 3:
    time.sleep(0.05)
  os.kill(process.pid, signal.SIGKILL)
  process.join()
  opened = study.open_study(address_of(tmp_path), WHOLE, SPACE)
  assert any(trial.state is TrialState.RUNNING for trial in opened.trials)
  time.sleep(1.5)  # its workers leave with it
  sizes = {path: path.stat().st_size for path in (tmp_path / "trials").glob("trial_*")}
  time.sleep(0.5)
  assert sizes == {path: path.stat().st_size for path in (tmp_path / "trials").glob("trial_*")}
  run = driver(tmp_path, address_of(tmp_path), WHOLE, InProcess())
  run.run()
  assert_each_once(run.study, tmp_path, WHOLE.trials)


@contextlib.contextmanager
def postgres(folder, sockets):
  """A server of its own at a socket, since another process may take its port while it is away; yields functions that start and stop it."""
  user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
  folder.mkdir()
  if user:
    shutil.chown(folder, "postgres")
    shutil.chown(sockets, "postgres")
    for parent in folder.parents:
      if parent != pathlib.Path("/") and parent.stat().st_uid == os.getuid() and parent.stat().st_mode & 0o001 == 0:
        parent.chmod(parent.stat().st_mode | 0o011)
  quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
  subprocess.run([*user, "initdb", "-D", str(folder / "data"), "-U", "dnas", "-A", "trust"], **quiet)
  control = [*user, "pg_ctl", "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "-o", f"-k {sockets} -c listen_addresses="]
  start = lambda: subprocess.run([*control, "start"], **quiet)  # noqa: E731
  stop = lambda: subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # noqa: E731
  start()
  try:
    yield start, stop
  finally:
    stop()


needs_postgres = pytest.mark.skipif(shutil.which("initdb") is None or shutil.which("pg_ctl") is None, reason="PostgreSQL is not installed")


@needs_postgres
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # connections that died with the server
def test_eight_workers_on_postgresql_that_goes_away_for_a_while(tmp_path):
  with tempfile.TemporaryDirectory(dir="/tmp") as sockets, postgres(tmp_path / "server", sockets) as (start, stop):  # their paths are short
    address = study.Address(f"postgresql+psycopg://dnas@/postgres?host={sockets}", "tune", 120.0)
    config = study.Config(trials=24, sampler="random", pruner="successive_halving", min_epochs=1, eta=3)
    away = threading.Timer(3.0, lambda: (stop(), time.sleep(AWAY), start()))
    with executors.Local(8) as pool:
      run = driver(tmp_path, address, config, pool, {"seconds": 0.15})
      away.start()
      run.run()
    away.join()
    assert_each_once(run.study, tmp_path, config.trials)
  del run
  gc.collect()


AWAY = float(os.environ.get("DNAS_DATABASE_AWAY", "4"))
"""Seconds; 30 where there is time."""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:os.fork")  # Ray's own services are forked
def test_ray_gives_the_trials_of_local_and_survives_the_loss_of_a_node(tmp_path, monkeypatch):
  from ray.cluster_utils import Cluster

  for name in ("local", "ray", "lost"):
    (tmp_path / name).mkdir()
  with executors.Local(1) as pool:
    here = driver(tmp_path / "local", address_of(tmp_path / "local"), HALVING, pool)
    here.run()
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parents[1]))))  # of the workers
  cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
  try:
    with Ray(1, 0.0, cluster.address) as pool:
      there = driver(tmp_path / "ray", address_of(tmp_path / "ray"), HALVING, pool)
      there.run()
      assert told(there.study) == told(here.study)
    second = cluster.add_node(num_cpus=1)
    config = study.Config(trials=5, sampler="random")
    with Ray(2, 0.0, cluster.address) as pool:
      run = driver(tmp_path / "lost", address_of(tmp_path / "lost"), config, pool, {"seconds": 0.3})
      lost = threading.Timer(4.0, lambda: cluster.remove_node(second, allow_graceful=False))
      lost.start()
      run.run()
      lost.join()
      assert_each_once(run.study, tmp_path / "lost", config.trials)
  finally:
    cluster.shutdown()


@pytest.mark.parametrize(
  "name", ["plain", "lr 0.1?x", "a#b", "100%", "a%20b", "é ü 数", "{SCHEMA_VERSION}", "{0}", "a&b=c;d:e@f+g~", "'\"\\\\"]
)
def test_a_study_is_in_its_own_folder_whatever_that_is_called(tmp_path, name):
  urls = []
  for folder in (tmp_path / name, tmp_path / f"{name}?second"):
    folder.mkdir()
    urls.append(storage.file_url(folder / "study.db"))
    address = study.Address(urls[-1], "tune")
    opened = study.open_study(address, WHOLE, SPACE)
    assert not opened.trials and (folder / "study.db").is_file()
    opened.ask()
    assert len(address.load(WHOLE, address.open()).trials) == 1  # as a worker sees it
    of_optuna = RDBStorage(address.url, engine_kwargs={"poolclass": sqlalchemy.NullPool})  # the dashboard opens the printed address so
    assert optuna.load_study(study_name="tune", storage=of_optuna).user_attrs == opened.user_attrs
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}?second"]) and urls[0] != urls[1]


def test_a_journal_is_a_storage_too(tmp_path):
  run = driver(tmp_path, study.Address(f"journal:///{tmp_path}/study.log", "tune"), WHOLE, InProcess())
  run.run()
  assert_each_once(run.study, tmp_path, WHOLE.trials)


def test_pictures(tmp_path, monkeypatch):
  run = driver(tmp_path, address_of(tmp_path), study.Config(trials=8, sampler="random", pruner="median"), InProcess())
  run.run()
  figures, save = {}, plots._save
  monkeypatch.setattr(plots, "_save", lambda axes, path: (figures.update({path.name: axes}), save(axes, path)))
  names = plots.save_plots(run.study, ["accuracy"], tmp_path / "pictures", ("#767676", "#004DA8", "#BF5000"))
  assert {"history", "parallel_coordinates", "contour", "importance", "epochs"} <= set(names)
  assert all((tmp_path / "pictures" / f"{name}.{kind}").stat().st_size > 5000 for name in names for kind in ("png", "svg"))
  (lines,) = (one for one in figures["parallel_coordinates"].figure.axes[0].collections if isinstance(one, LineCollection))
  for value in (lines.norm.vmin, lines.norm.vmax):
    red, green, blue, _ = lines.to_rgba(value)
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5, "dark on the white of every picture"
  assert {to_hex(figures[name].get_facecolor()) for name in ("history", "epochs", "parallel_coordinates")} == {"#ffffff"}
  trials = run.study.get_trials(deepcopy=False)
  values = [trial.values[0] for trial in trials if trial.state is TrialState.COMPLETE]
  (best,) = figures["history"].lines
  np.testing.assert_array_equal(best.get_ydata(), [*np.maximum.accumulate(values), max(values)])
  curves = [line for line in figures["epochs"].lines if line.get_linewidth() > 2]
  assert len(figures["epochs"].lines) == len(trials) and [line.get_ydata()[-1] for line in curves] == [max(values)]


