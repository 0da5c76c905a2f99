"""The smallest searches and the smallest retrainings that launchers can run, and how their folders are read."""

import json
import os
import pathlib

import jax
import pytest

import dnas
from dnas.core.genotype import Genotype
from dnas.launchers import export, search, test, train
from dnas.run.checkpoint import Checkpoints

ROOT = pathlib.Path(dnas.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""Of launchers in processes of their own, which so compile quickly."""
LAUNCHERS = {"search": search, "train": train, "test": test, "export": export}
DATA = ("--data.dataset=synthetic", "--data.batch_size=32")
DARTS = ("--darts.epochs=2", "--darts.arch_learning_rate=0.05", "--darts.diagnose_every=0")  # a diagnosis compiles for seconds
SEARCH = (*DATA, "--supernet.channels=2", "--supernet.cells=1", *DARTS)
TRAIN = (*DATA, "--network.channels=2", "--network.cells=1", "--network.auxiliary=false", "--train.epochs=1")
STEPS = 8
"""Of an epoch of the search: 256 examples in batches of 32."""
TEXT_DATA = ("--data.tokens=400", "--data.batch_size=8", "--data.sequence_length=6", "--data.short_probability=0.3", "--data.buckets=1")
TEXT = ("--space=darts_recurrent", "--data.dataset=synthetic_text", *TEXT_DATA)
TEXT_SEARCH = (*TEXT, "--supernet.units=4", *DARTS)
TEXT_TRAIN = (*TEXT, "--network.units=4", "--data.length_deviation=1", "--train.epochs=4", "--train.patience=1", "--train.learning_rate=40")


def cache_flag() -> str:
  """The flag that keeps the suite's folder of compiled programs, if it has one."""
  return f"--compilation_cache={jax.config.jax_compilation_cache_dir or 'none'}"


def launch(launcher: str, *flags: object) -> int:
  """Runs a launcher in this process, and returns its exit status."""
  cached = [] if launcher == "export" else [cache_flag()]
  return LAUNCHERS[launcher].main([launcher, *cached, *map(str, flags)])


def refusal(capsys: pytest.CaptureFixture[str], launcher: str, workdir: object, *flags: object) -> str:
  """Launches with flags that must be refused before anything is printed, and returns the one sentence that says why."""
  status = launch(launcher, f"--workdir={workdir}", *flags)
  out, err = capsys.readouterr()
  assert (status, out) == (2, ""), (status, out, err)
  assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith(".\n") and "Traceback" not in err, err
  return err.removeprefix("error: ").strip()


def with_nodes(genotype: Genotype, cell: str, **changes: object) -> str:
  """Returns a genotype as JSON, with some nodes of a cell replaced, such as n3=[["relu", 0]]."""
  value = json.loads(genotype.to_json())
  for node, edges in changes.items():
    value["cells"][cell]["nodes"][int(node[1:])] = edges
  return json.dumps(value)


def lines(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder: pathlib.Path) -> dict[str, tuple[int, bytes]]:
  """All files of a run but its lock, by relative path: when they were written, and what they hold."""
  files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
  return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def history(folder: pathlib.Path) -> tuple:
  """What a run wrote down, but for the times."""
  metrics = lines(folder / "metrics.jsonl")
  for line in metrics:
    assert line.pop("seconds") > 0
  result = json.loads((folder / "result.json").read_text())
  result.pop("seconds", None)
  names = [*sorted(path.relative_to(folder) for path in (folder / "genotypes").glob("*")), "genotype.json", "architecture.jsonl"]
  return metrics, result, {str(name): (folder / name).read_text() for name in names if (folder / name).exists()}


def saved_steps(folder: pathlib.Path) -> list[int]:
  """The steps of the whole checkpoints of a run, in rising order."""
  return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal())


def final_bits(folder: pathlib.Path) -> tuple[int, list, bytes]:
  """The last checkpoint of a run: its step, path, shape and dtype of every array, and the bytes of all."""
  step = saved_steps(folder)[-1]
  with Checkpoints(folder / "checkpoints") as checkpoints:
    described, arrays = checkpoints._read(step)
  return step, described["leaves"], arrays.tobytes()
