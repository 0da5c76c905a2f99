"""Compiles the programs of the published presets for a GPU that this machine need not have.

  JAX_PLATFORMS=cpu JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 python -m benchmarks.compile_for --target=h100 --only=darts_cifar10_first_order
  python -m benchmarks.compile_for --lower --shrunk

The first command needs `pip install "jax[cuda]"` (6 GB). XLA compiles as on the card, but cannot try which kernels are fastest there. With
--lower the programs are lowered and not compiled. That needs no further package. The data are random, of the published shapes. A row is a
program that a step calls. Its columns, where the name does not say it:

  calls     how often a step calls it
  compile   seconds of wall time, and of processor time in brackets
  memory    arguments and temporary arrays, in GB
  launches  kernels of XLA (fusions), calls of cuDNN and cuBLAS, copies
  GB        sizes of all arguments and results of these launches
  floor     the time that the card needs to move these bytes, in ms
"""

import argparse
import contextlib
import functools
import gc
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies

from dnas.compiler.launches import launches
from dnas.compiler.programs import Called, programs_of
from dnas.core import config as config_lib
from dnas.core import devices
from dnas.core.errors import InputError, first_line
from dnas.data import datasets, text
from dnas.data.base import Config as DataConfig
from dnas.data.base import ImageDataset, Split, channel_statistics
from dnas.launchers import _image, _language, _presets
from dnas.launchers.configs import NASBENCH201_SEARCH, LanguageSearchConfig, LanguageTrainConfig, SearchConfig
from dnas.launchers.train import load_genotype
from dnas.search.gradient.seeds import SeedsTask

CARDS = pathlib.Path(__file__).parent / "cards"
SIDES = {"cifar10": 32, "images": 224}
CLASSES = {"cifar10": 10, "images": 1000}
WORDS = {"ptb": 10_000, "wikitext2": 33_278}

SHRUNK = {
  "supernet.channels": 12,
  "supernet.cells": 3,
  "supernet.units": 8,
  "network.channels": 4,
  "network.cells": 6,
  "network.units": 8,
  "data.batch_size": 4,
  "data.eval_batch_size": 4,
  "data.sequence_length": 5,
  "wide_resnet.depth": 10,
  "wide_resnet.widen_factor": 1,
  "resnet.depth": 8,
  "pyramidnet.depth": 29,
  "awd_lstm.units": 8,
  "mos_lstm.units": 8,
  "nas_cell.units": 8,
}
"""Sizes with which a program has all of its parts and is lowered within seconds."""


class Case(NamedTuple):
  """A configuration whose step is compiled."""

  launcher: str
  preset: str
  settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def cases() -> dict[str, Case]:
  """Returns the cases by name: every published preset, and variants of some."""
  found: dict[str, Case] = {}
  for launcher in ("search", "train"):
    for name in _presets.names_for(launcher):
      if _presets.load(name, launcher).data.dataset in (*SIDES, *WORDS) and not name.startswith("conv_chain"):
        found[name] = Case(launcher, name)
  first, bfloat16 = "darts_cifar10_first_order", {"supernet.precision": "bfloat16"}
  found["nasbench201_search"] = Case("search", "", {"data.dataset": "cifar10", "data.batch_size": 64})
  found[f"{first} bfloat16"] = Case("search", first, bfloat16)
  found[f"{first} unrolled"] = Case("search", first, {"hypergradient": "unrolled"})
  found[f"{first} four seeds"] = Case("search", first, {"num_seeds": 4})
  found[f"{first} four seeds bfloat16"] = Case("search", first, {"num_seeds": 4, **bfloat16})
  found["darts_cifar10_retrain bfloat16"] = Case("train", "darts_cifar10_retrain", {"network.precision": "bfloat16"})
  return found


def step_of(case: Case, shrunk: bool) -> tuple[Callable[[Any], Any], Any]:
  """Returns the step of a case, a function of its state, and its first state."""
  config: Any = _presets.load(case.preset, case.launcher) if case.preset else config_lib.with_units(NASBENCH201_SEARCH)
  settings = dict(case.settings) | (SHRUNK if shrunk else {})
  settings |= {f"data.{name}": getattr(DataConfig(), name) for name in datasets.OF_OWN_IMAGES}  # the stand-in is in memory
  settings |= {"start_from": "", "keep_operations": 0}
  config = config_lib.replace(config, {path: value for path, value in settings.items() if path in config_lib.flatten(config)})
  task = _task(config)
  state = task.init()
  first = task.end_of_epoch(getattr(getattr(config, "darts", None), "arch_warmup_epochs", 0))  # the first step that trains all there is
  return functools.partial(_stepped, task, first), state


def _stepped(task: Any, step: int, state: Any) -> Any:
  return task.step(state, step)


def _task(config: Any) -> Any:
  """Returns the task of a configuration, with random data in the place of its own."""
  of_text = isinstance(config, LanguageSearchConfig | LanguageTrainConfig)
  build = _language if of_text else _image
  with _stand_in(config):
    if not isinstance(config, SearchConfig):
      genotype = None if config.model else load_genotype(config.genotype, config.space)
      return build.train_parts(config, genotype, force=True).task
    task = config.task(build.search_parts(config, force=True).workload, config.seed)
  several = [task.reseeded(config.seed + number) for number in range(1, config.num_seeds)]
  return SeedsTask([task, *several]) if several else task


@contextlib.contextmanager
def _stand_in(config: Any) -> Iterator[None]:
  """Lets the loader of the data of a configuration return random data of their shape, as many as a step needs."""
  rng, data = np.random.default_rng(0), config.data
  if data.dataset in WORDS:
    words, tokens = WORDS[data.dataset], 4 * data.batch_size * (data.sequence_length + 100)
    train, valid = rng.integers(0, words, (2, tokens)).astype(np.int32)
    vocabulary = text.Vocabulary(tuple(map(str, range(words))))
    made: Any = text.TextDataset("random text", "word", train, valid, vocabulary, {}, _read_test=lambda: valid)
    where, name = datasets, "text_from_config"
  else:
    side, classes = SIDES[data.dataset], CLASSES[data.dataset]
    images = rng.integers(0, 256, (max(6 * data.batch_size, classes), side, side, 3), np.uint8)
    split = Split(images, np.arange(len(images), dtype=np.int32) % classes)
    names = tuple(map(str, range(classes)))
    made = ImageDataset("random images", split, classes, *channel_statistics(images[:64]), names, published=True, _read_test=lambda: split)
    where, name = datasets, "from_config"
  with mock.patch.object(where, name, lambda _: made):
    yield


def lowered(program: Called) -> str:
  """Returns the text of a program for CUDA, in StableHLO."""
  return program.function.trace(*program.arguments).lower(lowering_platforms=("cuda",)).as_text()


def compiled(program: Called, device: Any) -> dict[str, Any]:
  """Compiles a program for a device and returns what it found; times in seconds, memory and traffic in bytes."""
  sharding = jax.sharding.SingleDeviceSharding(device)
  arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for x in program.arguments]
  began, processor = time.monotonic(), time.process_time()
  made = program.function.lower(*arguments).compile()
  row = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - processor}
  memory = made.memory_analysis()
  counted = launches(made.as_text())
  return row | {"arguments": memory.argument_size_in_bytes, "temporary": memory.temp_size_in_bytes, **counted._asdict()}


def device_of(target: str) -> tuple[Any, float]:
  """Returns a card that is not there, to compile for, and the bytes per second of its memory."""
  about = (CARDS / f"{target}.txtpb").read_text()
  found = re.search(r"memory_bandwidth: (\d+)", about)
  assert found
  return topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=about).devices[0], float(found[1])


HEADER = ("case", "program", "calls", "compile (s)", "memory (GB)", "fusions", "libraries", "copies", "launches", "GB", "floor (ms)")


def line_of(row: dict[str, Any], rate: float) -> tuple[str, ...]:
  """Returns a row of the table."""
  memory = f"{row['arguments'] / 1e9:.2f} + {row['temporary'] / 1e9:.2f}"
  kinds = [row[kind] for kind in ("fusions", "libraries", "copies")]
  times = f"{row['seconds']:.0f} ({row['processor_seconds']:.0f})"
  traffic = f"{row['bytes'] / 1e9:.1f}", f"{1e3 * row['bytes'] / rate:.1f}"
  return (row["case"], row["program"], str(row["calls"]), times, memory, *map(str, kinds), f"{sum(kinds):,}", *traffic)


def main() -> None:
  """Compiles or lowers the cases, and prints a line for every program as it is done."""
  known = cases()
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--target", choices=sorted(path.stem for path in CARDS.glob("*.txtpb")), default="h100", help="the card")
  parser.add_argument("--only", default="", help="cases, with commas between their names: " + ", ".join(known))
  parser.add_argument("--lower", action="store_true", help="lower and do not compile")
  parser.add_argument("--shrunk", action="store_true", help="take small networks and batches")
  parser.add_argument("--nondeterministic", action="store_true", help="leave out the flags of --deterministic")
  parser.add_argument("--out", default="", help="file for the rows as JSON; cases that it has are not compiled again")
  options = parser.parse_args()
  try:
    for name in filter(None, options.only.split(",")):
      config_lib.check_name("only", name, known)
  except InputError as e:
    parser.error(f"--{e}")
  if not options.nondeterministic:
    devices.make_deterministic()
  devices.target("gpu")
  out = pathlib.Path(options.out) if options.out else None
  rows: list[dict[str, Any]] = json.loads(out.read_text()) if out and out.exists() else []
  done = {row["case"] for row in rows}
  try:
    device, rate = (None, 1.0) if options.lower else device_of(options.target)
  except (RuntimeError, ImportError) as e:
    parser.error(f'JAX cannot compile for a GPU here ({first_line(e)}); run pip install "jax[cuda]", or give --lower.')
  if device is not None:
    print("| " + " | ".join(HEADER) + " |\n|" + " --- |" * len(HEADER))
  for row in rows:
    print("| " + " | ".join(line_of(row, rate)) + " |", flush=True)
  for name in filter(None, options.only.split(",")) if options.only else [name for name in known if name not in done]:
    step, state = step_of(known[name], options.shrunk)
    for program in programs_of(step, state):
      if device is None:
        print(f"{name}: {program.name}, called {program.calls} times a step, lowered to {len(lowered(program)):,} characters", flush=True)
        continue
      rows.append({"case": name, "program": program.name, "calls": program.calls, **compiled(program, device)})
      print("| " + " | ".join(line_of(rows[-1], rate)) + " |", flush=True)
    if out:
      out.write_text(json.dumps(rows, indent=2) + "\n")
    jax.clear_caches()
    gc.collect()


if __name__ == "__main__":
  main()
