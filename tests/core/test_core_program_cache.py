"""The folder of compiled programs: who may write to it, how much it holds, and that damage is compiled anew."""

import os
import pathlib
import stat
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.core import program_cache
from dnas.core.errors import InputError


@pytest.fixture(autouse=True)
def apart():
  yield
  program_cache.use("none", 0)


def mode(path):
  return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_folder_is_made_for_this_user_alone(tmp_path, umask):
  path = tmp_path / "cache"
  before = os.umask(umask)
  try:
    program_cache.use(str(path), 1e9)
  finally:
    os.umask(before)
  assert mode(path) == 0o700 and jax.config.jax_compilation_cache_dir == str(path)


def test_a_folder_that_others_may_read_is_used_and_stays_as_it_is(tmp_path):
  tmp_path.chmod(0o755)
  program_cache.use(str(tmp_path), 1e9)
  assert mode(tmp_path) == 0o755 and jax.config.jax_compilation_cache_dir == str(tmp_path)


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused_with_one_warning(tmp_path, bits):
  tmp_path.chmod(bits)
  sentence = rf"--compilation_cache={tmp_path} is not used, since others may write to it \(its mode is {bits:04o}\)"
  with pytest.warns(UserWarning, match=sentence) as said:
    program_cache.use(str(tmp_path), 1e9)
  assert len(said) == 1 and jax.config.jax_compilation_cache_dir is None and not list(tmp_path.iterdir())


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
  with pytest.warns(UserWarning, match=f"it belongs to the user with number {tmp_path.stat().st_uid}"):
    program_cache.use(str(tmp_path), 1e9)
  assert jax.config.jax_compilation_cache_dir is None


def test_none_keeps_nothing_and_another_folder_takes_the_place_of_the_first(tmp_path):
  def kept(folder: str) -> set[str]:
    program_cache.use(folder, 1e9)
    jax.jit(lambda x: jnp.cos(x) + len(folder))(jnp.ones(2))
    return {path.parent.name for path in tmp_path.glob("*/*-cache") if "lambda" in path.name}

  assert kept(str(tmp_path / "first")) == {"first"} and kept(str(tmp_path / "another")) == {"first", "another"}
  before = sorted(tmp_path.glob("*/*-cache"))
  assert kept("none") == {"first", "another"} and sorted(tmp_path.glob("*/*-cache")) == before
  assert jax.config.jax_compilation_cache_dir is None


def test_what_is_no_folder_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "under", "/proc"):
    with pytest.raises(InputError, match=f"--compilation_cache={path} cannot be made or written to"):
      program_cache.use(str(path), 1e9)
  with pytest.raises(InputError, match="has a null character, which no path has"):
    program_cache.use("a\0b", 1e9)
  with pytest.raises(InputError, match="--compilation_cache is empty; give a folder, or 'none'."):
    program_cache.use("", 1e9)


def written(folder: pathlib.Path, name: str, size: int, used: float) -> pathlib.Path:
  path = folder / name
  path.write_bytes(bytes(size))
  os.utime(path, (used, used))
  return path


def test_programs_that_were_not_used_for_longest_go_first_and_nothing_else_goes(tmp_path):
  old, read, new = (written(tmp_path, f"jit_f-{64 * name}-cache", 100, used) for name, used in (("a", 1e9), ("b", 2e9), ("c", 3e9)))
  os.utime(read, (4e9, 2e9))  # it was read last of all
  others = [written(tmp_path, name, 1000, 1.0) for name in ("a_persons.txt", "a-persons-cache")]
  program_cache.trim(tmp_path, 300)
  assert all(path.exists() for path in (old, read, new, *others))
  program_cache.trim(tmp_path, 299)
  assert not old.exists() and read.exists() and new.exists()
  program_cache.trim(tmp_path, 150)
  assert read.exists() and not new.exists()
  program_cache.trim(tmp_path, 0)
  assert sorted(tmp_path.iterdir()) == sorted(others)


PROGRAM = """
import sys, jax, jax.numpy as jnp
from dnas.core import program_cache
program_cache.use(sys.argv[1], float(sys.argv[2]))
for count in range(4):
  jax.jit(lambda x: jnp.sin(x) * count)(jnp.ones(3))
"""


def test_a_process_leaves_no_more_than_the_limit(tmp_path):
  root = pathlib.Path(__file__).parents[2]
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
  folder = tmp_path / "cache"

  def left(limit: float) -> int:
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(limit)], env=env, check=True, capture_output=True)
    return sum(path.stat().st_size for path in folder.iterdir())

  whole = left(1e9)
  assert whole > 4000 and 0 < left(whole / 2) <= whole / 2


@pytest.fixture
def kept(tmp_path):
  """A folder with one program, and a function that gives its result in what is a new process to JAX."""
  folder = tmp_path / "cache"

  def result():
    program_cache.use(str(folder), 1e9)
    jax.clear_caches()
    return np.asarray(jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0))(jnp.arange(12.0).reshape(4, 3)))

  expected = result()
  program_cache.use(str(folder), 1e9)
  (path,) = [path for path in programs(folder) if "lambda" in path.name]
  return path, result, expected


def programs(folder):
  return sorted(path for path in folder.iterdir() if path.name.endswith("-cache"))


def is_compiled(result, expected, path):
  """Whether a program is compiled anew, with the same result, and not read."""
  before = path.lstat().st_mtime_ns
  np.testing.assert_array_equal(result(), expected)
  program_cache.use("none", 0)  # as at the end of the process
  return path.is_file() and not path.is_symlink() and path.lstat().st_mtime_ns != before


def test_a_program_is_read_again_and_counts_as_used_by_jax_alone(kept):
  path, result, expected = kept
  os.utime(path, (1e9, path.stat().st_mtime))
  program_cache._users.clear()  # a new process would not know it either
  program_cache.use(str(path.parent), 1e9)
  assert path.stat().st_atime == 1e9
  assert not is_compiled(result, expected, path)
  assert mode(path) == 0o600 and mode(path.parent / "digests.txt") == 0o600


def test_every_flipped_bit_is_compiled_anew(kept):
  path, result, expected = kept
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  for place in rng.integers(8 * len(whole), size=12):
    damaged = bytearray(path.read_bytes())
    damaged[place // 8 % len(damaged)] ^= 1 << (place % 8)
    path.write_bytes(damaged)
    assert is_compiled(result, expected, path)


def shuffled(path):
  other = next(other for other in programs(path.parent) if other != path)
  path.write_bytes(other.read_bytes())


def replaced(path, make):
  path.unlink()
  make(path)


DAMAGES = {
  "empty": lambda path: path.write_bytes(b""),
  "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
  "another program": shuffled,
  "a pipe": lambda path: replaced(path, os.mkfifo),
  "a link": lambda path: replaced(path, lambda path: path.symlink_to(path.with_name("digests.txt"))),
  "writable by others": lambda path: path.chmod(0o666),
  "no digest": lambda path: (path.parent / "digests.txt").write_text("nonsense\n"),
  "a cut line of digests": lambda path: os.truncate(path.parent / "digests.txt", 70),
  "digests that are a pipe": lambda path: replaced(path.with_name("digests.txt"), os.mkfifo),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_as_it_was_written_is_compiled_anew(name, kept):
  path, result, expected = kept
  DAMAGES[name](path)
  assert is_compiled(result, expected, path)
  assert not is_compiled(result, expected, path)


UNFINISHED = """
import os, signal, sys, time, jax, jax.numpy as jnp
from dnas.core import program_cache
program_cache.use(sys.argv[1], 1e9)
print(jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(3)), flush=True)
time.sleep(float(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def begin(folder, seconds):
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
  process = subprocess.Popen([sys.executable, "-c", UNFINISHED, str(folder), str(seconds)], env=env, stdout=subprocess.PIPE)
  assert process.stdout.readline()
  return process


def test_programs_of_a_killed_process_stay_once_they_have_digests(tmp_path):
  folder = tmp_path / "cache"
  with begin(folder, 60) as process:
    left = programs(folder)
    program_cache.use(str(folder), 1e9)
    assert left and programs(folder) == left  # they are those of a process that lives
    program_cache.use("none", 0)
    process.kill()
  program_cache.use(str(folder), 1e9)
  assert not programs(folder)
  program_cache.use("none", 0)
  with begin(folder, 4):
    pass
  left = programs(folder)
  program_cache.use(str(folder), 1e9)
  assert left and programs(folder) == left


def test_nobody_else_may_write_what_is_made_under_any_umask(tmp_path):
  before = os.umask(0)
  try:
    program_cache.use(str(tmp_path / "above" / "cache"), 1e9)
    assert mode(tmp_path / "above") == mode(tmp_path / "above" / "cache") == 0o700
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.warns(UserWarning, match=r"others may enter it \(its mode is 0755\) and write to new files \(the umask is 0000\)"):
      program_cache.use(str(open_to_all), 1e9)
  finally:
    os.umask(before)
  (tmp_path / "above").chmod(0o777)
  with pytest.warns(UserWarning, match=rf"others may replace it \(the mode of {tmp_path}/above is 0777\)"):
    program_cache.use(str(tmp_path / "above" / "cache"), 1e9)
