"""A thousand single bits flipped in stored programs of a tiny training: no run ends for one, and every run gives the same bits.

  python tests/campaigns/flips.py --flips=1000 --seed=0 --folder=/tmp/flips

Every start of the training meets programs with one flipped bit each; other starts meet programs that were exchanged, cut, or replaced by
pipes and links. The same command again goes on after the last start that was complete. The outcomes are lines of FOLDER/outcomes.jsonl.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
BY_START = 20
TINY = ("--data.dataset=synthetic", "--data.batch_size=64", "--network.channels=2", "--network.cells=1", "--network.auxiliary=false")
OTHERS = ("exchanged", "cut", "pipe", "link", "no digests")
"""Damages of whole files; a start of each follows those with flipped bits."""


def train(cache: pathlib.Path, workdir: pathlib.Path) -> tuple[int, str, str]:
  """Runs the training in a folder that is removed; returns its exit status, the digest of its result, and what it said."""
  shutil.rmtree(workdir, ignore_errors=True)
  command = [sys.executable, "-m", "experiments.train", *TINY, "--train.epochs=1"]
  command += [f"--compilation_cache={cache}", f"--workdir={workdir}"]
  environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
  result = workdir / "result.json"
  digest = hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else ""
  return done.returncode, digest, done.stderr


def programs(cache: pathlib.Path) -> list[pathlib.Path]:
  """Returns the stored programs."""
  return sorted(path for path in cache.iterdir() if path.name.endswith("-cache"))


def flip(path: pathlib.Path, rng: np.random.Generator) -> None:
  """Changes one bit of a file."""
  content = bytearray(path.read_bytes())
  place = int(rng.integers(8 * len(content)))
  content[place // 8] ^= 1 << place % 8
  path.write_bytes(content)


def damage(kind: str, cache: pathlib.Path, rng: np.random.Generator, count: int) -> list[pathlib.Path]:
  """Damages some programs, and returns which."""
  chosen = [programs(cache)[index] for index in rng.permutation(len(programs(cache)))[:count]]
  contents = [path.read_bytes() for path in chosen]
  for index, path in enumerate(chosen):
    if kind == "flipped":
      flip(path, rng)
    elif kind == "exchanged":
      path.write_bytes(contents[index - 1])
    elif kind == "cut":
      path.write_bytes(contents[index][: int(rng.integers(len(contents[index])))])
    elif kind in ("pipe", "link"):
      path.unlink()
      os.mkfifo(path) if kind == "pipe" else path.symlink_to(cache / "digests.txt")
  if kind == "no digests":
    (cache / "digests.txt").unlink()
  return chosen


def run(folder: pathlib.Path, flips: int, seed: int, by_start: int = BY_START, others: tuple[str, ...] = OTHERS) -> list[dict]:
  """Runs what is missing, and returns the outcomes of all starts."""
  folder.mkdir(parents=True, exist_ok=True)
  outcomes = folder / "outcomes.jsonl"
  lines = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
  cache, workdir, whole = folder / "cache", folder / "run", folder / "whole.json"
  if not whole.exists():
    shutil.rmtree(cache, ignore_errors=True)
    status, digest, said = train(cache, workdir)
    assert status == 0, said
    whole.write_text(json.dumps(digest))
  expected = json.loads(whole.read_text())
  kinds = ["flipped"] * -(-flips // by_start) + list(others)
  for start in range(len(lines), len(kinds)):
    rng, kind = np.random.default_rng([seed, start]), kinds[start]
    count = min(by_start, flips - start * by_start) if kind == "flipped" else by_start
    damaged = damage(kind, cache, rng, count)
    before = {path: path.lstat().st_mtime_ns for path in damaged}
    began = time.monotonic()
    status, digest, said = train(cache, workdir)
    anew = sum(path.is_file() and not path.is_symlink() and path.lstat().st_mtime_ns != before[path] for path in damaged)
    outcome = {"kind": kind, "damaged": len(damaged), "anew": anew, "status": status, "same": digest == expected}
    lines.append(outcome | {"traceback": "Traceback" in said, "seconds": round(time.monotonic() - began, 1)})
    with open(outcomes, "a") as file:
      file.write(json.dumps(lines[-1]) + "\n")
  return lines


def main() -> int:
  """Runs the campaign, and returns 1 if anything was silent or ended a run."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--flips", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  given = parser.parse_args()
  lines = run(given.folder, given.flips, given.seed)
  counts = collections.Counter()
  for line in lines:
    counts[line["kind"]] += line["damaged"]
  bad = [line for line in lines if line["status"] or not line["same"] or line["traceback"] or line["anew"] < line["damaged"]]
  print(", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
  print(f"{len(lines)} starts, {len(bad)} of them bad {bad[:3]}")
  return int(bool(bad))


if __name__ == "__main__":
  sys.exit(main())
