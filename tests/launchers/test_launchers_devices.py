"""Runs whose batches two devices share compute what one device computes, and go on with another number of devices."""

import json
import os
import pathlib
import subprocess
import sys

import devices_tiny
import pytest
from tiny_runs import cache_flag, refusal

import dnas


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
  """The losses of the first steps, by run, and the folder of what was saved."""
  folder, root = tmp_path_factory.mktemp("two"), pathlib.Path(dnas.__file__).parents[1]
  paths = os.pathsep.join([str(root), str(root / "tests" / "launchers")])
  environment = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
  environment |= {"JAX_COMPILATION_CACHE_DIR": cache_flag().partition("=")[2], "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  command = [sys.executable, devices_tiny.__file__, "2", str(folder)]
  done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1]), folder


@pytest.mark.parametrize("run", devices_tiny.RUNS)
def test_two_devices_compute_what_one_computes(run, two_devices, tmp_path):
  losses, saved = two_devices
  assert losses[run] == pytest.approx(devices_tiny.losses(run, tmp_path)[0], rel=1e-4)
  assert devices_tiny.losses(run, saved, first=devices_tiny.SAVED)[0] == pytest.approx(losses[run][devices_tiny.SAVED :], rel=1e-4)


@pytest.mark.parametrize("count", [2, -1])
def test_devices_that_there_are_not(count, workdir, capsys):
  assert refusal(capsys, "search", workdir, f"--devices={count}").startswith(f"--devices is {count}; ")
