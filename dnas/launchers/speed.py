"""Measures compile time, step time, memory and arithmetic of searches and trainings, and their growth with size.

  dnas speed --workdir=runs/speed
  dnas speed --jobs=search_first_order,search_second_order,search_unrolled --batch=16,64 --workdir=runs/speed
  dnas speed --jobs=search_first_order --peer=python3.11 --workdir=runs/speed_peer

Every job runs at every combination of cells, channels, batch, seeds and precision. In one round every job takes one step. The images are
random. The rows of a size are printed once it is measured, and go to WORKDIR/speed.json. Its columns, where the name does not say it:

  cold       time from the built network to the end of its first step, with an empty compilation cache
  warm       the same with all programs in the cache
  step       median time of a step over the rounds; the first two rounds do not count
  to first   median over the rounds of the step time, divided by that of the first job
  input      share of a step that making its batches takes, augmentation included
  dispatch   time after which the call of a step returns; on a CPU the calling thread computes, so it is nearly the step time
  GFLOP, GB  arithmetic and memory traffic of the passes of a step through the network, as XLA counts them; of a training on an
             accelerator, of its whole step, which is one program there
  roofline   shortest time for this arithmetic and traffic at the peak rates of the device, divided by the step time
  to peer    median over the rounds of the step time, divided by that of PyTorch

With --peer PyTorch takes the same step of every job in every round, without augmentation. On images it does so in both of its memory
formats, and the faster one counts. Every job has a process with PyTorch. --peer names the Python of these processes, which needs PyTorch
and NumPy and no dnas. Measure on a machine without other work. If other programs use the cores, PyTorch's threads wait for each other, and
its steps take many times as long.
"""

import contextlib
import gc
import itertools
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from dnas.core import devices, program_cache
from dnas.core.config import check
from dnas.core.paths import expanded
from dnas.launchers import _flags, _run
from dnas.launchers import _speed_strategies as strategies
from dnas.launchers._costs import costs as costs_of
from dnas.launchers._speed_jobs import JOBS, Job, Size, SpeedConfig
from dnas.launchers.peers import process
from dnas.report.tables import Table


class Peak(NamedTuple):
  """The peak rates of a device, in operations and bytes per second."""

  operations: dict[str, float]
  bytes: float


PEAKS = {
  "NVIDIA H100 80GB HBM3": Peak({"float32": 494e12, "bfloat16": 989e12}, 3.35e12),
  "NVIDIA H200": Peak({"float32": 494e12, "bfloat16": 989e12}, 4.8e12),
  "NVIDIA A100-SXM4-80GB": Peak({"float32": 156e12, "bfloat16": 312e12}, 2.04e12),
}
"""Peak rates from the data sheets, without sparsity. The float32 rate is that of TensorFloat-32, which XLA uses there by default."""


def measure(config: SpeedConfig, size: Size) -> list[dict[str, Any]]:
  """Returns the measurements of all jobs at one size; times in seconds, memory in bytes."""
  with tempfile.TemporaryDirectory() as root:
    rows = [{"job": name, **size._asdict(), **_compile_times(config, size, name, root)} for name in config.network_jobs]
    jobs, states = [], []
    for row in rows:
      with _compilation_cache(f"{root}/{row['job']}"):
        jobs.append(JOBS[row["job"]](config, size))
        states.append(_first_step(jobs[-1])[1])
  rounds, peer_rounds, dispatches = [], [], []
  with contextlib.ExitStack() as stack:
    peers = _peers(config, jobs, states, stack)
    for step in range(1, config.steps + 3):
      times, returns = [], []
      for index, job in enumerate(jobs):
        began = time.perf_counter()
        states[index], metrics = job.task.step(states[index], step)
        returns.append(time.perf_counter() - began)
        jax.block_until_ready((states[index], metrics))
        times.append(time.perf_counter() - began)
      rounds.append(times)
      dispatches.append(returns)
      peer_rounds.append([peer.step() for peer in peers])
  rounds, dispatches = np.array(rounds[2:]), np.array(dispatches[2:])
  for index, (row, job) in enumerate(zip(rows, jobs, strict=True)):
    seconds = float(np.median(rounds[:, index]))
    row |= {"step": seconds, "to_first": float(np.median(rounds[:, index] / rounds[:, 0])), "examples_per_second": job.examples / seconds}
    inputs = [_seconds(lambda job=job, index=index: jax.block_until_ready(job.inputs(states[index]))) for _ in range(config.steps + 2)]
    row |= {"dispatch": float(np.median(dispatches[:, index])), "input": float(np.median(inputs[2:])) / seconds}
    with _compilation_cache(f"{root}/{row['job']}"):  # which has these programs, so nothing is compiled for its costs
      costs = [(count, costs_of(function, *arguments)) for function, arguments, count in job.programs(states[index])]
    row |= {name: sum(count * cost[key] for count, cost in costs) for name, key in (("flops", "flops"), ("bytes", "bytes accessed"))}
    row["memory"] = max(cost["memory"] for _, cost in costs)
    row |= {"device": jax.devices()[0].device_kind, "python": platform.python_version(), "jax": jax.__version__}
    row["roofline"] = _roofline(config, row)
  for index, (row, peer) in enumerate(zip(rows, peers, strict=bool(peers))):
    forms = np.array([steps[index] for steps in peer_rounds[2:]]).T
    best = int(np.median(forms, 1).argmin())
    row |= {f"peer_{name}": value for name, value in peer.about.items()}
    row |= {"peer_steps": np.median(forms, 1).tolist(), "ratio_to_peer": float(np.median(rounds[:, index] / forms[best]))}
  return rows


def _compile_times(config: SpeedConfig, size: Size, name: str, root: str) -> dict[str, float]:
  """Returns the time to the end of a job's first step: 'cold' with an empty cache, 'warm' with the cache in `root` that it has filled."""
  times = {}
  with _compilation_cache(f"{root}/{name}"):
    for kind in ("cold", "warm") if config.warm else ("cold",):
      _forget()
      times[kind], _ = _first_step(JOBS[name](config, size))
  _forget()
  return times


def _forget() -> None:
  """Drops all traced and compiled functions of this process."""
  gc.collect()  # compiled functions are in reference cycles, and keep their shared programs alive
  jax.clear_caches()


def _roofline(config: SpeedConfig, row: dict[str, Any]) -> float | None:
  """Returns the shortest possible time of a step, by arithmetic or by bytes, divided by the measured time; None if a peak is unknown."""
  known = PEAKS.get(row["device"])
  operations = 1e9 * config.peak_gflops or (known.operations[row["precision"]] if known else 0.0)
  moved = 1e9 * config.peak_gbytes or (known.bytes if known else 0.0)
  return max(row["flops"] / operations, row["bytes"] / moved) / row["step"] if operations and moved else None


def _seconds(function: Callable[[], Any]) -> float:
  began = time.perf_counter()
  function()
  return time.perf_counter() - began


def _peers(config: SpeedConfig, jobs: list[Job], states: list[Any], stack: contextlib.ExitStack) -> list[process.Peer]:
  """Returns the same jobs in PyTorch, with our weights, each in a process that ends with `stack`; none without --peer."""
  if not config.peer:
    return []
  parts = zip(config.network_jobs, jobs, states, strict=True)
  return [stack.enter_context(process.running(config.peer, name, job.problem(state))) for name, job, state in parts]


@contextlib.contextmanager
def _compilation_cache(folder: str) -> Iterator[None]:
  """Uses a folder as compilation cache, and then the previous cache again."""
  before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]  # JAX 0.10 declares no settings
  compilation_cache.reset_cache()
  program_cache.use(folder, float("inf"))
  try:
    yield
  finally:
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", before)


def _first_step(job: Job) -> tuple[float, Any]:
  state = job.task.init()
  began = time.perf_counter()
  state, metrics = job.task.step(state, 0)
  jax.block_until_ready((state, metrics))
  return time.perf_counter() - began, state


def table_of(rows: list[dict[str, Any]]) -> Table:
  """Returns the measurements as a table."""
  header = ["job", *Size._fields, "cold (s)", "warm (s)", "step (ms)", "to first", "examples/s", "input (%)", "dispatch (ms)"]
  header += ["GFLOP", "GB moved", "roofline (%)", "memory (MB)"] + ["to peer"] * ("ratio_to_peer" in rows[0])
  lines = []
  for row in rows:
    line = [row["job"], *(str(row[name]) for name in Size._fields), f"{row['cold']:.1f}", f"{row['warm']:.1f}" if "warm" in row else "–"]
    line += [f"{1e3 * row['step']:,.0f}", f"{row['to_first']:.2f}", f"{row['examples_per_second']:,.0f}"]
    line += [f"{100 * row['input']:.1f}", f"{1e3 * row['dispatch']:.0f}", f"{row['flops'] / 1e9:.2f}", f"{row['bytes'] / 1e9:.2f}"]
    line += ["–" if row["roofline"] is None else f"{100 * row['roofline']:.0f}", f"{row['memory'] / 1e6:,.0f}"]
    lines.append((*line, *([f"{row['ratio_to_peer']:.2f}"] if "ratio_to_peer" in row else [])))
  caption = f"speed on {rows[0]['device']}, Python {rows[0]['python']}, jax {rows[0]['jax']}"
  if "ratio_to_peer" in rows[0]:
    caption += "; the peer: Python {peer_python}, PyTorch {peer_torch}, threads: {peer_threads}".format_map(rows[0])
  return Table(caption, tuple(header), tuple(lines))


def growth_of(rows: list[dict[str, Any]]) -> list[str]:
  """Returns a line for every two sizes that differ in one number n: the exponents k with which step time and cold time grow as n^k."""
  lines = []
  for field in ("cells", "channels", "batch", "seeds"):
    others = [name for name in ("job", *Size._fields) if name != field]
    for one, other in itertools.combinations(rows, 2):
      if one[field] < other[field] and all(one[name] == other[name] for name in others):
        factor = np.log(other[field] / one[field])
        step, cold = (np.log(other[name] / one[name]) / factor for name in ("step", "cold"))
        lines.append(f"{one['job']}: {field} {one[field]} to {other[field]}: a step grows to the power {step:.2f}, cold to {cold:.2f}")
  return lines


def _projected(row: dict[str, Any]) -> str:
  hours = 50 * (25_000 // row["batch"]) * row["step"] / 3600
  several = f" of {row['seeds']} seeds" if row["seeds"] > 1 else ""
  return f"{row['job']}{several}, {row['precision']}, batch {row['batch']}: 50 epochs of 25,000 images in {hours:.2f} hours"


def run(config: SpeedConfig, options: _flags.Options, given: set[str]) -> None:
  """Measures everything, and prints and writes the table."""
  _flags.require_workdir(options)
  if options.deterministic:
    devices.make_deterministic()
  _run.reuse_memory()
  devices.use(options.devices)
  fits = not config.peer or jax.default_backend() == "cpu"
  check(fits, "peer", config.peer, "the peer computes on the CPU, so set JAX_PLATFORMS=cpu as well")
  folder = expanded("--workdir", options.workdir)
  folder.mkdir(parents=True, exist_ok=True)
  rows, began = [], time.monotonic()
  if len(config.network_jobs) < len(config.jobs.split(",")):
    found = strategies.overheads(config.evaluations)
    (folder / "strategies.json").write_text(json.dumps(found, indent=2) + "\n")
    print(strategies.table_of(found).to_markdown())
  if not config.network_jobs:
    return
  for size in itertools.product(config.cells, config.channels, config.batch, config.seeds, config.precision.split(",")):
    size = Size(*size)
    if config.limit and time.monotonic() - began > config.limit:
      print(f"{size} and what follows is left out: more than {config.limit:.0f} seconds have gone")
      break
    new = measure(config, size)
    rows += new
    print(f"\n{table_of(new).to_markdown()}", flush=True)
    (folder / "speed.json").write_text(json.dumps(rows, indent=2) + "\n")
  if len(rows) > len(config.network_jobs):
    print(f"\n{table_of(rows).to_markdown()}")
  for line in [*growth_of(rows), *(_projected(row) for row in rows if row["job"].startswith("search"))]:
    print(line)


LAUNCHER = _flags.Launcher("speed", SpeedConfig(), run, __doc__, option_names=("workdir", "imports", "devices", "deterministic"))
main = LAUNCHER.main
