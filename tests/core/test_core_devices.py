"""The flags that make a GPU deterministic, and the kind of device that programs are traced for."""

import importlib.metadata
import os

import jax
import pytest

from dnas.core import devices

FIRST, SECOND = devices.DETERMINISTIC


@pytest.mark.parametrize(
  ("plugin", "given", "expected"),
  [
    ("xla_cuda13", None, f"{FIRST} {SECOND}"),
    ("rocm7", "--xla_dump_to=here", f"--xla_dump_to=here {FIRST} {SECOND}"),
    ("xla_cuda12", "--xla_gpu_enable_triton_gemm=true", f"--xla_gpu_enable_triton_gemm=true {FIRST}"),
    ("metal", None, None),
    ("", "--xla_dump_to=here", "--xla_dump_to=here"),
  ],
)
def test_xla_is_told_to_be_deterministic_where_jax_is_for_gpus(monkeypatch, plugin, given, expected):
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  if given is not None:
    monkeypatch.setenv("XLA_FLAGS", given)
  found = [importlib.metadata.EntryPoint(plugin, "module", "jax_plugins")] if plugin else []
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
  for _ in range(2):
    devices.make_deterministic()
    assert os.environ.get("XLA_FLAGS") == expected


def test_programs_are_traced_for_the_device_of_the_process_or_for_another(monkeypatch):
  monkeypatch.setattr(devices, "_target", None)
  assert devices.backend() == jax.default_backend() == "cpu"
  devices.target("gpu")
  assert devices.backend() == "gpu"
