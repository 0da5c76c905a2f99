"""What is refused, and in which words: studies, storages, journals, settings, accelerators, clusters; and passwords, which stay hidden."""

import os

import pytest
import sqlalchemy
from tune_toy import SPACE, WHOLE, Config, InProcess, address_of, assert_each_once, driver

from dnas.core.errors import InputError
from dnas.tune import executors, storage, study
from dnas.tune import space as spaces


def test_studies_of_something_else_are_refused(tmp_path):
  address = address_of(tmp_path)
  study.open_study(address, WHOLE, SPACE)
  other = spaces.parse("learning_rate = log(0.001, 1); momentum = uniform(0, 0.5)", Config())
  with pytest.raises(InputError, match=r"the study 'tune' in .* another search space \(drop_path, momentum\); give the study"):
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
    ("nonsense", r"--storage=nonsense is not the address of a database; write sqlite"),
    ("sqlite:////no/such/folder/study.db", r"is in a folder that does not exist or cannot be written; give a file in a folder that exists"),
    ("postgresql+psycopg://me@127.0.0.1:1/dnas", r"--storage=postgresql\+psycopg://me@.* not answer .*start the postgresql"),
    ("postgresql+psycopg://me@host:65536/dnas", r"its port must be 1 to 65535"),
    ("strange://host/name", r"needs a driver that is not installed"),
    ("postgresql+psycopg://host:port/name", r"is not the address of a database; write sqlite"),
    ("sqlite:////tmp/a?x=1", r"has '\?', after which SQLite reads its own settings; write a path with '\?' as"),
    ("sqlite:////no/{such}/folder/study.db", r"is in a folder that does not exist or cannot be written"),
    ("sqlite://", r"keeps the study in the memory of one process, where workers cannot read it; give sqlite"),
    ("journal:////no/such/folder/study.log", r"is in a folder that does not exist or cannot be written; give a file in a folder"),
  ],
)
def test_storages_that_cannot_be_used(url, message):
  with pytest.raises(InputError, match=message) as raised:
    study.open_study(study.Address(url, "tune", 1.0), WHOLE, SPACE)
  assert "\n" not in str(raised.value)


def test_a_password_is_not_printed(tmp_path):
  url = "postgresql+psycopg://me:secret@host/dnas"
  assert storage.shown_url(url) == "postgresql+psycopg://me:***@host/dnas"
  assert storage.shown_url(f"journal:///{tmp_path}/a?b.log") == f"journal:///{tmp_path}/a?b.log"


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"sampler": "tpee"}, "did you mean 'tpe'"),
    ({"pruner": "median", "objectives": "accuracy,weights"}, "with several objectives it must be none"),
    ({"objectives": "weights,accuracy"}, "put an objective that validation measures first"),
    ({"objectives": "accuracy,accuracy"}, "given twice"),
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
  assert "holds a password" in said and storage.PASSWORD in said or "is not the address of a database" in said


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
  "folder": "is not a file",
  "pipe": "is not a file",
  "missing/study.log": "is in a folder that does not exist",
  "binary.log": "is not the journal of a study, or is damaged, at line 1",
  "prose.log": "is a file that is not a study",
  "other.log": "is not the journal of a study, or is damaged, at line 1",
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
  assert "or is damaged, at line 5; restore it from a copy" in refusal(journal_of(tmp_path).url, tmp_path)


def test_a_file_of_something_else_is_no_data_base(tmp_path):
  (tmp_path / "note.txt").write_text("x")
  assert "is a file that is not a study" in refusal(f"sqlite:///{tmp_path}/note.txt", tmp_path)
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
  with pytest.raises(InputError, match="trial 0 of the study 'tune' was ended by another process; run a study in one process at a time"):
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
