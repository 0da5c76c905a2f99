"""The console script `dnas`, which is also `python -m dnas`: one subcommand for every launcher."""

import importlib
import pathlib
import sys
from collections.abc import Sequence

from dnas import __version__
from dnas.core.errors import InputError, unknown_name
from dnas.core.extras import needed_by

LAUNCHERS = {
  "search": "search for an architecture, on images or text",
  "train": "train one architecture, and measure it on the test set",
  "test": "test a trained network again, by class, on any split or data set",
  "describe": "say what a network costs, layer by layer, and its latency",
  "export": "write a trained network in formats that need no dnas",
  "compare": "compare search methods at equal budget",
  "report": "report a comparison: tables and figures; make the page of a run",
  "open": "open the page of a run in a browser, or print its path",
  "runs": "list the runs in a folder: kind, state, progress, result",
  "evaluators": "measure what every evaluator is worth",
  "tables": "print the tables of published networks, and train them",
  "tune": "tune the hyperparameters of a training",
  "demo": "search, rank the found network, retrain it and test it",
  "speed": "measure compile time, step time and memory",
  "latency": "measure the operations of a search on this device",
  "digits_bench": "make or check the table of results in the package",
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a launcher, and returns its exit status: 2 where there is none of the name.

  Args:
    argv: the program's name, the launcher's, and its flags; those of the process if not given.
  """
  argv = sys.argv if argv is None else list(argv)
  if len(argv) < 2 or argv[1] in ("--help", "-help", "-h"):
    print(_help("dnas" if pathlib.Path(argv[0]).stem == "dnas" else "python -m dnas"))
    return 0 if len(argv) > 1 else 2
  if argv[1] == "--version":
    print(f"dnas {__version__}")
    return 0
  try:
    if argv[1] not in LAUNCHERS:
      raise unknown_name("launcher", argv[1], LAUNCHERS)
    with needed_by(f"dnas {argv[1]}"):
      launcher = importlib.import_module(f"dnas.launchers.{argv[1]}")
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  return launcher.main([f"{argv[0]} {argv[1]}", *argv[2:]])


def _help(program: str) -> str:
  lines = [f"  {program} {name:<14}{about}" for name, about in LAUNCHERS.items()]
  hints = ["", f"Flags of a launcher: {program} search --help", f"Version: {program} --version"]
  return "\n".join(["Differentiable neural architecture search in JAX.", "", *lines, *hints])


if __name__ == "__main__":
  sys.exit(main())
