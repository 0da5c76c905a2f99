"""Cuts the power of runs of every kind: a file system that was copied while a run wrote to it gives a folder that ends in the same bits.

  python tests/campaigns/power_cuts.py --folder=/tmp/cuts --cuts=50 --seed=1

As root: every run writes to an ext4 file system in an image, whose file is copied at moments of a stopped run, without a sync. A copy
holds what had reached the device. It is mounted, its journal is replayed, and the command of the run goes on there. The campaign too goes
on where it was broken off. Exit status 1 if any run ended in other bits, found a damaged checkpoint, or printed a traceback.
"""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import kills
import runs

SHARES = {"train": 18, "compare": 4, "text_train": 10, "search": 8, "tune": 6, "text_search": 4}
"""Kind of run to its share of the cuts, in fiftieths."""
PER_RUN = 4
MEGABYTES = 96


def main() -> int:
  """Runs the campaign, and prints its figures."""
  given = runs.arguments(__doc__, "cuts", 50, SHARES)
  if os.geteuid() or not shutil.which("mkfs.ext4"):
    raise SystemExit("it takes root and mkfs.ext4 to mount a file system of one's own")
  given.folder.mkdir(parents=True, exist_ok=True)
  ledger = runs.Ledger(given.folder / "ledger.jsonl")
  for kind, cuts in given.wanted.items():
    length, unbroken = kills.unbroken_run(kind, given.folder, ledger)
    for number in range(-(-cuts // PER_RUN)):
      names = [f"{kind} {cut}" for cut in range(PER_RUN * number, min(cuts, PER_RUN * (number + 1)))]
      if missing := [name for name in names if name not in ledger.done]:
        rng = random.Random(f"{given.seed} {kind} {number}")
        _cut(kind, missing, length, unbroken, given.folder, ledger, rng)
  told = [line for line in ledger.done.values() if "resumed" in line]
  bad = [line for line in told if line["differs"] or line["traceback"] or line["damaged"]]
  resumed = sum(line["resumed"] for line in told)
  print(f"{len(told)} power cuts, {resumed} of which left something to go on with, {len(bad)} ended otherwise: {bad}")
  return bool(bad)


@contextlib.contextmanager
def _mounted(image: pathlib.Path, where: pathlib.Path) -> Iterator[pathlib.Path]:
  where.mkdir(parents=True, exist_ok=True)
  subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
  try:
    yield where
  finally:
    for _ in range(50):
      if not subprocess.run(["umount", str(where)], capture_output=True).returncode:
        break
      time.sleep(0.1)


def _cut(
  kind: str, names: list[str], length: float, unbroken: str, folder: pathlib.Path, ledger: runs.Ledger, rng: random.Random
) -> None:
  image, where = folder / "disk.img", folder / "disk"
  image.unlink(missing_ok=True)
  with open(image, "wb") as file:
    file.truncate(MEGABYTES << 20)
  subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
  copies = []
  with _mounted(image, where):
    os.sync()
    process = runs.Process(kind, where / "run", folder / "cache")
    moments = sorted(rng.uniform(0.3 * length, 0.95 * length) for _ in names)
    for name, moment in zip(names, moments, strict=True):
      kills.sleep(process, moment - (time.monotonic() - process.began))
      if rng.random() < 0.5:
        begin = time.monotonic()
        while process.poll() is None and not list(where.glob("run/**/checkpoints/*.*")) and time.monotonic() < begin + 2:
          time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.02))
      ended = process.poll() is not None
      if not ended:
        process.signal(signal.SIGSTOP)
      copies.append((name, folder / f"cut_{name.replace(' ', '_')}.img", moment, ended))
      subprocess.run(["cp", "--sparse=always", str(image), str(copies[-1][1])], check=True)
      if not ended:
        process.signal(signal.SIGCONT)
    process.kill()
  for name, copy, moment, ended in copies:
    with _mounted(copy, where):
      workdir = where / "run"
      resumed = any(path.name.isdecimal() for path in workdir.glob("**/checkpoints/*")) or any(workdir.glob("**/journal.jsonl"))
      process = runs.Process(kind, workdir, folder / "cache")
      status = process.wait()
      printed = process.printed()
      told = f"status {status}: {printed[-300:]}" if status else ""
      ledger.add(
        name,
        moment=round(moment, 3),
        ended=ended,
        resumed=resumed,
        damaged=any(workdir.glob("**/*.damaged")) or "is damaged" in printed,
        traceback="Traceback" in printed,
        differs=told or runs.differing(runs.outcome(workdir), unbroken),
      )
    copy.unlink()


if __name__ == "__main__":
  sys.exit(main())
