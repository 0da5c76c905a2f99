"""Kills runs of every kind at hundreds of moments: the same command, given until it is through, ends in the same bits.

  python tests/campaigns/kills.py --folder=/tmp/kills --kills=300 --seed=1

The moments are: at any time; right after the start; while a checkpoint is being written, several times in a row; as soon as a resumed run
has said so; and near the end, while results and pictures are written. The same command goes on where it was broken off. Exit status 1 if
any run ended in other bits or printed a traceback.
"""

import pathlib
import random
import shutil
import sys
import time

import runs

SHARES = {"train": 9, "compare": 4, "report": 3, "tune": 3, "text_train": 5, "search": 4, "text_search": 2}
SHARES |= dict.fromkeys(("training", "morphism", "weight_sharing", "hypernetwork", "supernet"), 3)
SHARES |= dict.fromkeys(("parameters", "synflow", "jacob_cov", "naswot"), 1)
"""Kind of run, or evaluator of a comparison, to its share of the kills: most of them runs that take seconds."""
MOMENTS = ("any", "any", "start", "saving", "saving", "resumed", "end")
WITHOUT_SAVES = ("any", "any", "start", "end")
PER_RUN = 10
"""Kills of a run before it is left alone."""


def main() -> int:
  """Runs the campaign, and prints its figures."""
  given = runs.arguments(__doc__, "kills", 300, SHARES)
  given.folder.mkdir(parents=True, exist_ok=True)
  ledger = runs.Ledger(given.folder / "ledger.jsonl")
  for kind, kills in given.wanted.items():
    length, unbroken = unbroken_run(kind, given.folder, ledger)
    for number in range(-(-kills // PER_RUN)):
      if f"{kind} {number}" not in ledger.done:
        rng = random.Random(f"{given.seed} {kind} {number}")
        _kill_all_along(kind, number, min(PER_RUN, kills - PER_RUN * number), length, unbroken, given.folder, ledger, rng)
  told = [line for line in ledger.done.values() if "hits" in line]
  bad = [line for line in told if line["differs"] or line["tracebacks"]]
  print(f"{sum(line['hits'] for line in told)} kills of {len(told)} runs, {len(bad)} of which ended otherwise: {bad}")
  return bool(bad)


def _prepared(kind: str, workdir: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  shutil.rmtree(workdir, ignore_errors=True)
  if before := runs.KINDS[kind].before:
    shutil.copytree(folder / f"unbroken_{before}" / "run", workdir)
  return workdir


def unbroken_run(kind: str, folder: pathlib.Path, ledger: runs.Ledger) -> tuple[float, str]:
  """Returns how long an unbroken run takes, in seconds, and what it ends in."""
  part, workdir = f"unbroken {kind}", folder / f"unbroken_{kind}" / "run"
  if before := runs.KINDS[kind].before:
    unbroken_run(before, folder, ledger)
  if part not in ledger.done:
    for _ in range(2):  # the second time from compiled programs
      process = runs.Process(kind, _prepared(kind, workdir, folder), folder / "cache")
      if process.wait():
        raise SystemExit(f"{kind}: {process.printed()}")
      length = time.monotonic() - process.began
    ledger.add(part, seconds=length, outcome=runs.outcome(workdir))
  return ledger.done[part]["seconds"], ledger.done[part]["outcome"]


def _kill_all_along(
  kind: str, number: int, kills: int, length: float, unbroken: str, folder: pathlib.Path, ledger: runs.Ledger, rng: random.Random
) -> None:
  workdir, cache = folder / f"killed_{kind}_{number}" / "run", folder / "cache"
  _prepared(kind, workdir, folder)
  hits, tracebacks, moments, refused = 0, 0, [], []
  while hits < kills and len(moments) < 3 * kills:
    moment = rng.choice(MOMENTS if runs.KINDS[kind].saves else WITHOUT_SAVES)
    process = runs.Process(kind, workdir, cache)
    _wait_for(moment, process, workdir, length, rng)
    hit = process.kill()
    moments.append(moment if hit else f"({moment})")
    hits += hit
    tracebacks += "Traceback" in process.printed()
    if process.status and not hit:
      refused.append(process.printed()[-300:])
    if not hit:  # it has come to its end: begin anew
      if runs.differing(runs.outcome(workdir), unbroken):
        break
      _prepared(kind, workdir, folder)
  process = runs.Process(kind, workdir, cache)
  status = process.wait()
  tracebacks += "Traceback" in process.printed()
  differs = runs.differing(runs.outcome(workdir), unbroken) or (f"status {status}: {process.printed()[-300:]}" if status else "")
  ledger.add(f"{kind} {number}", hits=hits, differs=differs, tracebacks=tracebacks, refused=refused, moments=moments)
  if not differs and not tracebacks:
    shutil.rmtree(workdir.parent)


def _wait_for(moment: str, process: runs.Process, workdir: pathlib.Path, length: float, rng: random.Random) -> None:
  end = process.began + 4 * length + 5
  if moment in ("any", "start"):
    sleep(process, rng.uniform(0, length if moment == "any" else 0.4))
    return

  def seen() -> bool:
    if moment == "resumed":
      return "resumed after" in process.printed() or "goes on with" in process.printed() or "complete:" in process.printed()
    pattern = "**/checkpoints/*.*" if moment == "saving" else "**/*.tmp" if rng.random() < 0.5 else "**/genotype.json"
    return any(True for _ in workdir.glob(pattern))

  while process.poll() is None and not seen() and time.monotonic() < end:
    time.sleep(0.0005)
  sleep(process, rng.uniform(0, 0.02 if moment == "saving" else 0.3))


def sleep(process: runs.Process, seconds: float) -> None:
  """Waits for so many seconds, or until a run has ended."""
  end = time.monotonic() + seconds
  while process.poll() is None and time.monotonic() < end:
    time.sleep(0.001)


if __name__ == "__main__":
  sys.exit(main())
