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
from tune_toy import EPOCHS, SPACE, Config, address_of, assert_each_once, driver, told

from dnas.core.errors import InputError
from dnas.tune import executors, plots, storage, study
from dnas.tune import space as spaces

pytestmark = pytest.mark.xdist_group("tune_study")  # workers take seconds to start, and Ray much memory
HALVING = study.Config(trials=12, sampler="tpe", startup=4, pruner="successive_halving", min_epochs=1, eta=3)
WHOLE = study.Config(trials=6, sampler="random")
HERE = pathlib.Path(__file__).parent


class InProcess:
  """An executor that runs every job at once, here."""

  workers = 1

  def __init__(self):
    self._done = []

  def submit(self, function, *arguments):
    self._done.append(executors.Done(len(self._done), function(*arguments)))
    self._last = len(self._done) - 1
    return self._last

  def wait(self, timeout):
    return [self._done[self._last]]


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
    with executors.Ray(1, 0.0, cluster.address) as pool:
      there = driver(tmp_path / "ray", address_of(tmp_path / "ray"), HALVING, pool)
      there.run()
      assert told(there.study) == told(here.study)
    second = cluster.add_node(num_cpus=1)
    config = study.Config(trials=5, sampler="random")
    with executors.Ray(2, 0.0, cluster.address) as pool:
      run = driver(tmp_path / "lost", address_of(tmp_path / "lost"), config, pool, {"seconds": 0.3})
      lost = threading.Timer(4.0, lambda: cluster.remove_node(second, allow_graceful=False))
      lost.start()
      run.run()
      lost.join()
      assert_each_once(run.study, tmp_path / "lost", config.trials)
  finally:
    cluster.shutdown()


def test_studies_of_something_else_are_refused(tmp_path):
  address = address_of(tmp_path)
  study.open_study(address, WHOLE, SPACE)
  other = spaces.parse("learning_rate = log(0.001, 1); momentum = uniform(0, 0.5)", Config())
  with pytest.raises(InputError, match=r"the study 'tune' in .* is of another search space \(drop_path, momentum\); give the study"):
    study.open_study(address, WHOLE, other)
  with pytest.raises(InputError, match=r"was begun with another sampler; give the study another name, or the same flags"):
    study.open_study(address, study.Config(trials=6, sampler="tpe"), SPACE)
  study.open_study(address, study.Config(trials=60, sampler="random"), SPACE)
  opened = study.open_study(address_of(tmp_path, "old"), WHOLE, SPACE)
  opened.set_user_attr("dnas", "0.0.1")
  with pytest.raises(InputError, match=r"the study 'old' in .* was begun with dnas 0\.0\.1 and this is dnas"):
    study.open_study(address_of(tmp_path, "old"), WHOLE, SPACE)


@pytest.mark.parametrize(
  ("url", "message"),
  [
    ("nonsense", r"--storage=nonsense is no address of a data base; write sqlite"),
    ("sqlite:////no/such/folder/study.db", r"is in a folder that does not exist or cannot be written; give a file in a folder that exists"),
    ("postgresql+psycopg://me@127.0.0.1:1/dnas", r"--storage=postgresql\+psycopg://me@.* not answer .*start the postgresql"),
    ("postgresql+psycopg://me@host:65536/dnas", r"its port must be 1 to 65535"),
    ("strange://host/name", r"needs a driver that is not installed"),
    ("postgresql+psycopg://host:port/name", r"is no address of a data base; write sqlite"),
    ("sqlite:////tmp/a?x=1", r"has '\?', behind which SQLite expects settings of its own; write a path with '\?' as"),
    ("sqlite:////no/{such}/folder/study.db", r"is in a folder that does not exist or cannot be written"),
    ("sqlite://", r"is in the memory of one process, and workers have their own; give sqlite"),
    ("journal:////no/such/folder/study.log", r"is in a folder that does not exist or cannot be written; give a file in a folder"),
  ],
)
def test_storages_that_cannot_be_used(url, message):
  with pytest.raises(InputError, match=message) as raised:
    study.open_study(study.Address(url, "tune", 1.0), WHOLE, SPACE)
  assert "\n" not in str(raised.value)


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


def test_a_password_is_not_printed(tmp_path):
  url = "postgresql+psycopg://me:secret@host/dnas"
  assert storage.shown_url(url) == "postgresql+psycopg://me:***@host/dnas"
  assert storage.shown_url(f"journal:///{tmp_path}/a?b.log") == f"journal:///{tmp_path}/a?b.log"


def test_a_journal_is_a_storage_too(tmp_path):
  run = driver(tmp_path, study.Address(f"journal:///{tmp_path}/study.log", "tune"), WHOLE, InProcess())
  run.run()
  assert_each_once(run.study, tmp_path, WHOLE.trials)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"sampler": "tpee"}, "did you mean 'tpe'"),
    ({"pruner": "median", "objectives": "accuracy,weights"}, "it needs one objective"),
    ({"objectives": "weights,accuracy"}, "put what validation measures first"),
    ({"objectives": "accuracy,accuracy"}, "named twice"),
    ({"eta": 1}, "it must be 2 or more"),
    ({"trials": 2.5}, "trials is 2.5; it must be a whole number"),
    ({"sampler": None}, "sampler is None; it must be text"),
    ({"objectives": ""}, "objectives is ''; it can be accuracy"),
  ],
)
def test_settings_that_are_refused(settings, message):
  with pytest.raises(InputError, match=message):
    study.Config(**settings)


@pytest.mark.parametrize("share", [float("inf"), float("nan"), 10**400, 1.5, -1, 5e-324, 0.001, "1", True])
def test_shares_of_accelerators_that_are_refused(share):
  with pytest.raises(InputError, match="^accelerators is .*\\.$"):
    executors.Config(accelerators=share)


@pytest.mark.parametrize(("visible", "known"), [("", 0), ("-1", 0), ("0,-1,1", 1), (" 0 , 1 ", 2), ("GPU-8f2,MIG-3", 2), (",", 0)])
def test_accelerators_that_a_person_hides_are_not_dealt_out(visible, known, monkeypatch):
  monkeypatch.setattr(executors.glob, "glob", lambda pattern: [f"/dev/nvidia{index}" for index in range(4)])
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  assert len(executors.environments(known, 1.0)) == known
  with pytest.raises(InputError, match=f"this machine has {known};"):
    executors.environments(known + 1, 1.0)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
  assert [one["CUDA_VISIBLE_DEVICES"] for one in executors.environments(4, 1.0)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("url", ["sqlite:///a\0b", "sqlite:////\ud800", "journal:///a\0b", "journal:////proc/self", "sqlite:////proc/x"])
def test_addresses_of_files_that_cannot_be(url):
  with pytest.raises(InputError) as error:
    storage.open_storage(url, 0.0)
  assert str(error.value).startswith(f"--storage={url.split(':')[0]}:///") and str(error.value).isprintable()


def test_accelerators_are_dealt_out(monkeypatch):
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
  dealt = executors.environments(4, 0.5)
  assert [one["CUDA_VISIBLE_DEVICES"] for one in dealt] == ["2", "2", "3", "3"] and dealt[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"
  assert executors.environments(1, 2.0) == [{"CUDA_VISIBLE_DEVICES": "2,3"}] and executors.environments(2, 0.0) == [{}, {}]
  with pytest.raises(InputError, match=r"pool\.accelerators is 1\.0; the workers need 3 and this machine has 2; give fewer workers"):
    executors.environments(3, 1.0)


@pytest.mark.parametrize(
  ("address", "message"),
  [
    ("here", "write it as HOST:PORT"),
    ("127.0.0.1:70000", "its port must be 1 to 65535"),
    ("a..b:1", "nothing answers there"),
    ("127.0.0.1:1", r"nothing answers there \(.*\); start Ray there with"),
  ],
)
def test_a_cluster_that_does_not_answer(address, message):
  pytest.importorskip("ray")
  with pytest.raises(InputError, match=message):
    executors.Config(executor="ray", ray_address=address).open()


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


def refusal(url, tmp_path, owner=study.Owner()):  # noqa: B008  (frozen)
  with pytest.raises(InputError) as raised:
    study.check_study(study.Address(url, "tune", 1.0), WHOLE, SPACE, owner)
  assert "\n" not in str(raised.value) and "secret" not in str(raised.value)
  return str(raised.value)


@pytest.mark.parametrize(
  "url",
  [
    "postgresql+psycopg://me:secret@host/name",
    "postgresql+psycopg://me:s/secret@host/name",
    "postgresql+psycopg://me:secret@ecret@host:port/name",
    "postgresql+psycopg:///name?host=/tmp&password=secret",
    "mysql+pymysql://me@host/name?ssl_password=secret&charset=utf8",
    "me:secret@host",
  ],
)
def test_a_password_in_a_url_is_refused_and_never_shown(url, tmp_path):
  said = refusal(url, tmp_path)
  assert "holds a password" in said and storage.PASSWORD in said or "is no address of a data base" in said


def test_a_password_goes_past_the_url(monkeypatch):
  monkeypatch.setenv(storage.PASSWORD, "secret")
  url = "postgresql+psycopg://me@host/name"
  assert storage._options(sqlalchemy.engine.make_url(url))["connect_args"]["password"] == "secret"
  assert storage._options(sqlalchemy.engine.make_url("sqlite:////a"))["connect_args"] == {"timeout": 60}
  for name in (url, "journal:////a:b@c/study.log", "sqlite:////folder/study.db"):
    assert storage.shown_url(name) == name


JOURNALS = {
  "": "names no file",
  "/": "names no file",
  "folder": "is no file",
  "pipe": "is no file",
  "missing/study.log": "is in a folder that does not exist",
  "binary.log": "is no journal of a study, or a damaged one, by its line 1",
  "prose.log": "is a file of something else",
  "other.log": "is no journal of a study, or a damaged one, by its line 1",
}


@pytest.mark.parametrize("name", JOURNALS)
def test_what_is_no_journal_is_refused_and_not_written(name, tmp_path):
  (tmp_path / "folder").mkdir()
  os.mkfifo(tmp_path / "pipe")
  (tmp_path / "binary.log").write_bytes(b"\x00\xff\n\x01")
  (tmp_path / "prose.log").write_text("x")
  (tmp_path / "other.log").write_text('{"a": 1}\n')
  before = {path: path.read_bytes() for path in tmp_path.glob("*.log")}
  assert JOURNALS[name] in refusal(f"journal:///{tmp_path / name}" if name.strip("/") else f"journal:///{name}", tmp_path)
  assert {path: path.read_bytes() for path in tmp_path.glob("*.log")} == before


def journal_of(folder):
  return study.Address(f"journal:///{folder}/study.log", "tune", 60.0)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_journal_whose_last_line_was_cut_goes_on(cut, tmp_path):
  run = driver(tmp_path, journal_of(tmp_path), study.Config(trials=2, sampler="random"), InProcess())
  run.run()
  path = tmp_path / "study.log"
  whole = path.read_bytes()
  path.write_bytes(whole[:-cut])
  again = driver(tmp_path, journal_of(tmp_path), WHOLE, InProcess())
  again.run()
  assert_each_once(study.open_study(journal_of(tmp_path), WHOLE, SPACE), tmp_path, WHOLE.trials)
  lines = path.read_bytes().splitlines(keepends=True)
  assert lines[: whole.count(b"\n") - 1] == whole.splitlines(keepends=True)[:-1]
  path.write_bytes(b"".join(lines[:4]) + lines[4][:10] + b"\n" + b"".join(lines[5:]))
  assert "or a damaged one, by its line 5; restore it from a copy" in refusal(journal_of(tmp_path).url, tmp_path)


def test_a_file_of_something_else_is_no_data_base(tmp_path):
  (tmp_path / "note.txt").write_text("x")
  assert "is a file of something else, which would be overwritten" in refusal(f"sqlite:///{tmp_path}/note.txt", tmp_path)
  assert (tmp_path / "note.txt").read_text() == "x"


def test_a_study_belongs_to_one_run(tmp_path):
  address = address_of(tmp_path)
  mine, other = (study.Owner(name, tmp_path / name[0] / "trials") for name in ("alone", "beside"))
  study.open_study(address, WHOLE, SPACE, mine)
  said = f"the study 'tune' belongs to another run, with trials in {tmp_path}/a/trials; go on there, or give another --study_name."
  for tried in (study.check_study, study.open_study):
    tried(address, WHOLE, SPACE, mine)
    with pytest.raises(InputError, match=f"^{said}$"):
      tried(address, WHOLE, SPACE, other)
  second = driver(tmp_path, address, WHOLE, InProcess(), owner=mine)
  second.study.set_user_attr("run", {"id": "beside", "trials": str(tmp_path / "b")})  # both made it at once, and the other was last
  with pytest.raises(InputError, match="belongs to another run, with trials in .*/b"):
    second.run()


def test_a_trial_that_another_process_has_ended_is_one_sentence(tmp_path):
  run = driver(tmp_path, address_of(tmp_path), WHOLE, InProcess())

  class Ends(InProcess):
    def submit(self, function, *arguments):
      job = super().submit(function, *arguments)
      run.study.tell(arguments[1].number, 0.5)
      return job

  run.executor = Ends()
  with pytest.raises(InputError, match="trial 0 of the study 'tune' was ended by another process; let one process at a time run a study"):
    run.run()


@pytest.mark.parametrize("kind", ["emptied", "deleted", "older"])
def test_a_study_that_has_lost_trials_is_not_begun_anew(kind, tmp_path):
  address, owner = address_of(tmp_path), study.Owner("mine", tmp_path / "trials")
  driver(tmp_path, address, WHOLE, InProcess(), owner=owner).run()
  for trial in range(WHOLE.trials):
    (tmp_path / "trials" / f"trial_{trial:04d}").unlink()
    (tmp_path / "trials" / f"trial_{trial:04d}").mkdir()
  study.check_study(address, WHOLE, SPACE, owner)
  study.open_study(address, WHOLE, SPACE, owner)
  path = tmp_path / "study.db"
  if kind == "older":
    (tmp_path / "trials" / "trial_0006").mkdir()
    with pytest.raises(InputError, match="has 6 trials, and not trial_0006, whose folder is in .*; restore the study from a copy"):
      study.open_study(address, WHOLE, SPACE, owner)
    return
  path.unlink() if kind == "deleted" else os.truncate(path, 0)
  with pytest.raises(InputError, match="has 0 trials, and not trial_0000, whose folder is in .*; restore the study from a copy"):
    study.check_study(address, WHOLE, SPACE, owner)
  assert not path.exists() or not path.stat().st_size
