"""The run folder: what it refuses without writing, the lock, and files that follow the history."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

import dnas
from dnas.core.errors import InputError
from dnas.run import run_folder
from dnas.run.run_folder import RunFolder

CONFIG = {"seed": 1, "darts.learning_rate": 0.025, "widths": (1, 2), "name": None, "log_every": 10}


def opened(workdir, launcher="search", config=CONFIG, volatile=("log_every",)):
  return RunFolder.open(workdir, launcher, config, volatile)


def refused(workdir, **kwargs) -> str:
  with pytest.raises(InputError) as error:
    opened(workdir, **kwargs)
  text = str(error.value)
  assert "\n" not in text and text.endswith(".") and ("--workdir" in text or "another" in text)
  return text


def snapshot(folder):
  return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in [folder, *sorted(folder.rglob("*"))]}


@contextlib.contextmanager
def untouched(folder):
  before = snapshot(folder)
  yield
  assert snapshot(folder) == before


@pytest.fixture
def workdir(tmp_path):
  """The folder of a run that has ended."""
  opened(tmp_path / "a" / "run").close()
  return tmp_path / "a" / "run"


def test_a_run_from_before_a_field_existed_goes_on_with_its_default_alone(workdir):
  now, defaults = CONFIG | {"split": "", "widths": (1, 2)}, {"split": "", "seed": 7, "removed": 1}
  RunFolder.open(workdir, "search", now, defaults=defaults).close()
  with untouched(workdir):
    with pytest.raises(InputError, match=r"split:  -> shuffled"):
      RunFolder.open(workdir, "search", now | {"split": "shuffled"}, defaults=defaults)
    with pytest.raises(InputError, match=r"split: None -> "):
      RunFolder.open(workdir, "search", now)


def test_the_description_of_a_new_run(workdir):
  description = json.loads((workdir / "config.json").read_text())
  assert list(description) == ["launcher", "created", "versions", "command", "config"]
  assert description["launcher"] == "search" and description["command"] == sys.argv
  assert description["config"] == CONFIG | {"widths": [1, 2]}
  libraries = {"dnas", "python", "jax", "jaxlib", "flax", "optax", "orbax", "numpy", "platform", "device"}
  assert set(description["versions"]) == libraries and description["versions"]["dnas"] == dnas.__version__


def test_the_same_run_goes_on_and_its_description_stays(workdir):
  before = (workdir / "config.json").read_text()
  with opened(workdir, config=CONFIG | {"log_every": 99}) as folder:
    assert folder.path == workdir and folder.checkpoints == workdir / "checkpoints" and folder.pictures.is_dir()
  assert (workdir / "config.json").read_text() == before


def test_refuses_another_configuration_and_names_the_fields(workdir):
  with untouched(workdir):
    text = refused(workdir, config=CONFIG | {"seed": 2, "darts.learning_rate": 0.1, "log_every": 1})
    assert "(darts.learning_rate: 0.025 -> 0.1, seed: 1 -> 2)" in text and str(workdir) in text
    assert "new: None -> 3" in refused(workdir, config=CONFIG | {"new": 3})
    assert "'search'" in (text := refused(workdir, launcher="train")) and "'train'" in text


def test_refuses_what_is_no_folder_of_a_run(tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with untouched(tmp_path):
    assert "'notes.txt'" in refused(tmp_path)
    assert "not a directory" in refused(tmp_path / "notes.txt")
    assert "not a directory" in refused(tmp_path / "notes.txt" / "run")
    assert "empty" in refused("") and "empty" in refused(" ")


@pytest.mark.parametrize(
  "text",
  [
    "",
    "{",
    "[1]",
    '{"launcher": "search"}',
    '{"launcher": "search", "versions": {}, "config": 3}',
    '{"launcher": "search", "versions": [1], "config": {}}',
    '{"launcher": 1, "versions": {}, "config": {}}',
    '{"a": ' * 20_000,
    '{"launcher": ' + "1" * 10_000 + "}",
    "\udce9",
  ],
)
def test_refuses_a_broken_description(workdir, text):
  (workdir / "config.json").write_bytes(text.encode(errors="surrogateescape"))
  with untouched(workdir):
    text = refused(workdir)
    assert text.startswith(str(workdir / "config.json")) and "restore the file of this run" in text and len(text) < 400


@contextlib.contextmanager
def without_rights():
  """Root may write everywhere; be somebody else."""
  root = os.geteuid() == 0
  if root:
    os.seteuid(65534)
  try:
    yield
  finally:
    if root:
      os.seteuid(0)


def test_refuses_what_cannot_be_written():
  parent = pathlib.Path(tempfile.mkdtemp())
  (parent / "empty").mkdir()
  (parent / "empty").chmod(0o555)
  parent.chmod(0o555)
  try:
    with untouched(parent), without_rights():
      assert "permission denied" in refused(parent / "new") and "permission denied" in refused(parent / "empty")
  finally:
    parent.chmod(0o755)
    shutil.rmtree(parent)


def test_a_start_that_was_killed_is_no_obstacle(tmp_path):
  (tmp_path / ".lock").write_text("process 1")
  (tmp_path / ".config.json.tmp").write_text('{"laun')
  opened(tmp_path).close()
  assert json.loads((tmp_path / "config.json").read_text())["launcher"] == "search"


def test_one_process_at_a_time(workdir):
  code = "import sys, test_run_run_folder as t; f = t.opened(sys.argv[1]); print('open', flush=True); input()"
  path = os.pathsep.join([str(pathlib.Path(dnas.__file__).parents[1]), str(pathlib.Path(__file__).parent)])
  process = subprocess.Popen(
    [sys.executable, "-c", code, str(workdir)],
    env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == "open\n"
    with untouched(workdir):
      assert f"process {process.pid} on" in refused(workdir)
    process.kill()
  opened(workdir).close()  # the lock died with the process


def test_the_lock_is_given_back_after_a_refusal(workdir, monkeypatch):
  with opened(workdir):
    assert "in use" in refused(workdir)
  monkeypatch.setattr(run_folder, "_warn_of_other_software", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
  assert "no space left on device" in refused(workdir)
  monkeypatch.undo()
  opened(workdir).close()


def test_other_software_is_worth_a_warning(workdir, caplog):
  file = workdir / "config.json"
  file.write_text(file.read_text().replace(f'"dnas": "{dnas.__version__}"', '"dnas": "0.0.1"'))
  opened(workdir).close()
  assert [r.getMessage() for r in caplog.records if "0.0.1" in r.getMessage() and str(workdir) in r.getMessage()]


def history(epochs):
  return [
    {"epoch": i, "step": 7 * i, "seconds": 1.5 * i, "metrics": {"train/loss": 1 / i}, "genotype": f'{{"n": {i}}}', "mixture": [[0.1 * i]]}
    for i in range(1, epochs + 1)
  ]


def test_records_become_lines_and_files(tmp_path):
  with opened(tmp_path) as folder:
    folder.sync([])
    for record in history(2):
      folder.append(record)
    folder.append({"epoch": 3, "step": 21, "seconds": 4.5, "metrics": {}})  # a record without an architecture
    folder.write_genotype('{"n": 2}')
    folder.write_result({"test/accuracy": 0.5})
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert json.loads(lines[1]) == {"epoch": 2, "step": 14, "seconds": 3.0, "train/loss": 0.5} and len(lines) == 3
  assert [json.loads(line)["epoch"] for line in (tmp_path / "architecture.jsonl").read_text().splitlines()] == [1, 2]
  assert json.loads((tmp_path / "architecture.jsonl").read_text().splitlines()[0])["mixture"] == [[0.1]]
  assert [path.name for path in sorted((tmp_path / "genotypes").iterdir())] == ["epoch_0001.json", "epoch_0002.json"]
  assert (tmp_path / "genotypes" / "epoch_0002.json").read_text() == '{"n": 2}\n' == (tmp_path / "genotype.json").read_text()
  assert json.loads((tmp_path / "result.json").read_text()) == {"test/accuracy": 0.5}


def texts(workdir):
  return {path.relative_to(workdir): path.read_text() for path in workdir.rglob("*") if path.suffix in (".json", ".jsonl")}


def test_sync_mends_what_a_kill_left(tmp_path):
  with opened(tmp_path) as folder:
    folder.sync([])
    for record in history(3):
      folder.append(record)
    whole = texts(tmp_path)
    for record in (*history(5)[3:], history(6)[5]):
      folder.append(record)
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text()[:-20])  # killed in the middle of a line
    (tmp_path / "genotypes" / "epoch_0002.json").unlink()
    (tmp_path / "genotypes" / ".epoch_0007.json.tmp").write_text("{")
    folder.sync(history(3))
    assert {name: text for name, text in texts(tmp_path).items()} == whole
    file.write_text("")  # killed before anything of epoch 3 was written
    folder.sync(history(3))
    assert texts(tmp_path) == whole
    folder.sync([])
    assert file.read_text() == "" and not list((tmp_path / "genotypes").iterdir())


def test_only_what_the_program_wrote_is_removed(tmp_path):
  mine = ("my_epoch_best.json", "epoch_0009.json.bak", "epoch_9.json", ".epoch_0009.json.tmp2", "epoch_best.json", "epoch_00 9.json")
  with opened(tmp_path) as folder:
    folder.append(history(1)[0])
    for name in mine:
      (tmp_path / "genotypes" / name).write_text("mine")
    (tmp_path / "genotypes" / "epoch_0009.json").write_text("{}")
    folder.sync([])
  assert sorted(path.name for path in (tmp_path / "genotypes").iterdir()) == sorted(mine)


def test_what_is_there_already_is_not_written_again(tmp_path):
  with opened(tmp_path) as folder:
    folder.sync([])
    for record in history(2):
      folder.append(record)
    folder.write_result({"a": 1})
    with untouched(tmp_path):
      folder.sync(history(2))
      folder.write_result({"a": 1})


def test_a_folder_that_the_locale_cannot_read_is_refused(tmp_path):
  text = refused(tmp_path / "r\udce9sultat")
  assert "the locale cannot encode the name of the folder" in text and "LC_ALL=C.UTF-8" in text and text.isascii()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o755, 0o744])
def test_a_description_that_may_not_be_read_is_not_called_broken(mode):
  parent = pathlib.Path(tempfile.mkdtemp())
  parent.chmod(0o755)
  workdir = parent / "run"
  opened(workdir).close()
  (workdir / "config.json").chmod(0)
  workdir.chmod(mode)
  with without_rights(), pytest.raises(InputError, match=r"run/config.json cannot be read \(permission denied\); correct that"):
    opened(workdir)
  workdir.chmod(0o755)
  shutil.rmtree(parent)


WORDS = "the\ncat\n<unk>\n"


def test_a_kept_file_is_written_once_and_must_stay_the_same(workdir):
  with opened(workdir) as folder:
    folder.keep("vocabulary.txt", WORDS)
    assert (workdir / "vocabulary.txt").read_text() == WORDS and not list(workdir.glob(".vocabulary*"))
  with opened(workdir) as folder, untouched(workdir):
    folder.keep("vocabulary.txt", WORDS)


@pytest.mark.parametrize(
  "text, said",
  [
    ("the\ndog\n<unk>\n", "3 lines and now 3, the first difference in line 2"),
    ("the\ncat\n", "3 lines and now 2, the first difference in line 3"),
    (WORDS + "dog\n" * 5000, "3 lines and now 5,003, the first difference in line 4"),
    ("", "3 lines and now 0, the first difference in line 1"),
  ],
)
def test_another_text_than_the_kept_one_is_refused_and_located(workdir, text, said):
  with opened(workdir) as folder:
    folder.keep("vocabulary.txt", WORDS)
    with untouched(workdir), pytest.raises(InputError) as error:
      folder.keep("vocabulary.txt", text)
  assert str(error.value) == (
    f"{workdir / 'vocabulary.txt'} is not the one of this run ({said}); give the data that the run began with, or another --workdir."
  )


def test_a_kept_file_may_hold_any_letters_and_is_named_where_it_cannot_be_used(workdir, tmp_path):
  with opened(workdir) as folder:
    folder.keep("vocabulary.txt", "naïve\n猫\n")
    folder.keep("vocabulary.txt", "naïve\n猫\n")
    assert (workdir / "vocabulary.txt").read_bytes().decode() == "naïve\n猫\n"
    (workdir / "other.txt").mkdir()
    with pytest.raises(InputError, match=r"other.txt cannot be used \(is a directory\)"):
      folder.keep("other.txt", WORDS)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
  with opened(tmp_path) as folder:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics.jsonl cannot be used \(is a directory\)"):
      folder.append(history(1)[0])
    (tmp_path / "result.json").mkdir()
    with pytest.raises(InputError, match=r"result.json"):
      folder.write_result({})
