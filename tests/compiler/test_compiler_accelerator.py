"""The programs that an accelerator gets: they can be lowered for CUDA, and give the numbers of the programs for a CPU.

Both are tried in processes of their own, since a process traces for one kind of device.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import dnas

ROOT = pathlib.Path(dnas.__file__).parents[1]
GRADIENT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from dnas.cells import functional
from dnas.cells.darts_conv import SPACE, Cell
from dnas.compiler.functions import Loss
from dnas.compiler.programs import programs_of
from dnas.core import devices
from dnas.supernet.edges import EdgeWeights, MixedEdges, outgoing_rows

if sys.argv[1] != "cpu":
  devices.target(sys.argv[1])
rng = np.random.default_rng(0)
make = lambda cell, source, channels, stride, rng: MixedEdges(SPACE, source, channels, stride, rng)
network, variables = functional.split(Cell("reduce", SPACE, make, (3, 6), 4, True, True, False, rng))
mixture = jnp.asarray(rng.dirichlet(np.ones(8), size=14), jnp.float32)
inputs = jnp.asarray(rng.normal(size=(4, 9, 7, 3)), jnp.float32), jnp.asarray(rng.normal(size=(4, 5, 4, 6)), jnp.float32)
rows = [outgoing_rows(SPACE, source) for source in range(6)]

def loss(weights, mixture, stats):
  contexts = [[EdgeWeights(mixture[row : row + 1]) for row in of_state] for of_state in rows]
  out, stats = functional.apply(network, functional.Variables(weights, stats), *inputs, contexts, train=True)
  return (out ** 3).mean(), stats

gradient = Loss(loss, (0, 1)).gradient((0, 1))
found = gradient(variables.weights, mixture, variables.stats)
called = programs_of(gradient, variables.weights, mixture, variables.stats)
leaves = {jax.tree_util.keystr(path): np.asarray(leaf).tolist() for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
print(json.dumps({"programs": [[one.name, one.calls] for one in called], "leaves": leaves}))
"""
"""The gradient of a cell that halves images of an odd size, and what it called."""


def run(*command: str) -> str:
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout


def test_an_accelerator_gets_the_numbers_of_a_cpu():
  on_cpu, on_accelerator = (json.loads(run("-c", GRADIENT, kind)) for kind in ("cpu", "gpu"))
  assert on_accelerator["programs"] == [["gradient", 1]]
  assert on_cpu["leaves"].keys() == on_accelerator["leaves"].keys()
  for name, value in on_cpu["leaves"].items():
    np.testing.assert_allclose(on_accelerator["leaves"][name], value, rtol=2e-3, atol=2e-5, err_msg=name)


CASES = {
  "darts_cifar10_first_order": ["gradient_in_1", "gradient"],
  "darts_cifar10_first_order four seeds": ["gradient_in_1", "gradient"],
  "nasbench201_search": ["gradient_in_1", "gradient"],
  "darts_cifar10_retrain": ["step"],
  "darts_ptb_second_order": ["gradient", "gradient_in_1"],
  "darts_ptb_retrain": ["step"],
}


def test_the_programs_of_published_presets_are_lowered_for_cuda():
  lines = run("-m", "benchmarks.compile_for", "--lower", "--shrunk", f"--only={','.join(CASES)}").splitlines()
  expected = [f"{case}: {name}, called" for case, names in CASES.items() for name in names]
  assert [line.rpartition(" called")[0] + " called" for line in lines if "lowered to " in line] == expected


@pytest.mark.parametrize(("flags", "expected"), [(["--target=h1000"], "h100"), (["--only=darts_cifar"], "darts_cifar10_")])
def test_what_cannot_be_compiled_is_refused_in_a_sentence(flags, expected):
  done = subprocess.run([sys.executable, "-m", "benchmarks.compile_for", *flags], cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr
