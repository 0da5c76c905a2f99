"""Programs that are loaded instead of compiled."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from dnas.core import executables, segments
from dnas.core.segments import Segmented, segment

N = 5


@segment
def layer(weights: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights)


def gradient(weights: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
  def loss(weights: list[jax.Array]) -> jax.Array:
    return jnp.square(layer(weights[1], layer(weights[0], x))).mean()

  return jax.value_and_grad(loss)(weights)


def called() -> list[np.ndarray]:
  """Calls the function as a new process would, which shares no program with an earlier one."""
  segments.forget()
  rng = np.random.default_rng(0)
  weights = [jnp.asarray(rng.normal(size=(N, N)), jnp.float32) for _ in range(2)]
  return [np.asarray(leaf) for leaf in jax.tree.leaves(Segmented(gradient)(weights, jnp.asarray(rng.normal(size=(3, N)), jnp.float32)))]


@pytest.fixture
def folder(tmp_path):
  """Compiled programs are kept here, by us and by JAX."""
  before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
  compilation_cache.reset_cache()
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  yield tmp_path
  compilation_cache.reset_cache()
  jax.config.update("jax_compilation_cache_dir", before[0])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def same(ours: list[np.ndarray], theirs: list[np.ndarray]):
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(one, other)


def files(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in (folder / "programs").glob("*")}


def test_what_was_compiled_is_loaded_and_is_the_same(folder, compilations):
  first, written = called(), files(folder)
  assert written
  with compilations() as compiled:
    second = called()
  assert compiled == [] and files(folder) == written
  same(second, first)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: b"no pickle"])
def test_damaged_files_are_replaced(folder, damage):
  first, written = called(), files(folder)
  for name, content in written.items():
    (folder / "programs" / name).write_bytes(damage(content))
  same(called(), first)
  assert set(files(folder)) == set(written) and all(len(content) > 100 for content in files(folder).values())


def test_what_jax_has_read_is_not_written(folder, monkeypatch):
  """XLA writes such a program without its kernels; so JAX's cache is given none, but may have some of other times."""
  first, written = called(), files(folder)
  assert not [path for path in folder.iterdir() if "segment_layer" in path.name]
  shutil.rmtree(folder / "programs")
  with monkeypatch.context() as patch:
    patch.setattr(executables, "instead_of_jax", contextlib.nullcontext)
    called()
  assert [path for path in folder.iterdir() if "segment_layer" in path.name]
  shutil.rmtree(folder / "programs")
  for _ in range(2):
    same(called(), first)
  assert written and not files(folder)


def test_settings_that_change_a_program_find_another(folder):
  called()
  count = len(files(folder))
  jax.config.update("jax_exec_time_optimization_effort", 0.5)
  try:
    called()
  finally:
    jax.config.update("jax_exec_time_optimization_effort", 0.0)
  assert len(files(folder)) == 2 * count


def test_without_a_folder_nothing_is_kept(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  try:
    assert len(called()) == 3
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_folder_that_cannot_be_written_is_no_hindrance(folder):
  (folder / "programs").write_text("a file where the folder should be")
  assert len(called()) == 3


DEVICES = """
import jax, numpy as np
from tests.core.test_core_executables import gradient
from dnas.core.segments import Segmented
first, second = jax.devices()
function, arrays = Segmented(gradient), ([np.eye(5, dtype=np.float32)] * 2, np.ones((3, 5), np.float32))
for device in (first, second, first, second):
  loss, _ = function(*jax.device_put(arrays, device))
  assert loss.devices() == {device}, loss.devices()
print(function._cache_size())
"""


def test_arguments_on_another_device_are_computed_there():
  root = pathlib.Path(__file__).parents[2]
  env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, "-c", DEVICES], env=env, cwd=root, capture_output=True, text=True)
  assert done.stdout == "2\n", done.stderr[-2000:]
