"""The folder of compiled programs: who may write to it, how much it holds, and that damage is compiled anew."""

import os
import pathlib
import stat
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from dnas.core import program_cache
from dnas.core.errors import InputError


@pytest.fixture(autouse=True)
def restored():
  before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
  compilation_cache.reset_cache()
  yield
  compilation_cache.reset_cache()
  jax.config.update("jax_compilation_cache_dir", before[0])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


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
  before = sorted(tmp_path.glob("*/*"))
  assert kept("none") == {"first", "another"} and sorted(tmp_path.glob("*/*")) == before and jax.config.jax_compilation_cache_dir is None


def test_what_is_no_folder_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "under", "/proc", "a\0b"):
    told = str(path).replace("\0", r"\\x00")
    with pytest.raises(InputError, match=f"--compilation_cache={told} cannot be made or written to"):
      program_cache.use(str(path), 1e9)
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


def test_every_flipped_bit_gives_the_same_results_or_is_compiled_anew(tmp_path):
  def result():
    jax.clear_caches()
    compilation_cache.reset_cache()
    return np.asarray(jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0))(jnp.arange(12.0).reshape(4, 3)))

  program_cache.use(str(tmp_path / "cache"), 1e9)
  expected, rng = result(), np.random.default_rng(0)
  (path,) = [path for path in (tmp_path / "cache").iterdir() if "lambda" in path.name and path.name.endswith("-cache")]
  whole = path.read_bytes()
  for place in rng.integers(8 * len(whole), size=12):
    damaged = bytearray(whole)
    damaged[place // 8] ^= 1 << (place % 8)
    path.write_bytes(damaged)
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
      np.testing.assert_array_equal(result(), expected)
  for content in (b"", whole[: len(whole) // 2], b"no program"):
    path.write_bytes(content)
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
      np.testing.assert_array_equal(result(), expected)
