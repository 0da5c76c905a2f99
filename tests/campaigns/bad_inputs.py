"""Gives launchers hundreds of bad inputs: each is refused in one sentence that names the flag or the file, and nothing is written.

  python tests/campaigns/bad_inputs.py --folder=/tmp/bad_inputs --inputs=300 --seed=1

An input is a small valid command that is made bad in one random way. What a launcher may take, such as a number that is large, may also
run, or end with a loss that is not finite. The same command goes on where it was broken off. Exit status 1 if any input printed a
traceback, gave no sentence, or left a file.
"""

import collections
import pathlib
import random
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import kills
import runs

from dnas.cells.registries import IMAGE_GENOTYPES
from dnas.core import config as config_lib
from dnas.data import cifar
from dnas.launchers import _flags

SHARES = {"search": 6, "train": 8, "text_search": 3, "text_train": 3, "compare": 6, "tune": 5, "report": 2}
"""Kind of run to its share of the inputs."""
PATIENCE = 10
"""Seconds after which what was taken is stopped."""


class Given(NamedTuple):
  """What a mistake is made of: where randomness comes from, the kind of run, its folder, files beside it, and its settings."""

  rng: random.Random
  kind: str
  workdir: pathlib.Path
  beside: pathlib.Path
  fields: list[tuple[str, Any, Any]]

  def path_of(self, *types: Any) -> str:
    """Returns the path of a setting of one of these types."""
    return self.rng.choice([path for path, kind, _ in self.fields if kind in types])

  @property
  def training(self) -> str:
    """What stands before the flags of a training."""
    return "training." if self.kind == "tune" else ""

  def damaged(self, name: str, content: bytes) -> pathlib.Path:
    """Writes a file beside the run that is no longer what it was, or does not, and returns its path."""
    path, damage = self.beside / name, self.rng.choice(("missing", "folder", "empty", "cut", "no text"))
    if damage == "folder":
      path.mkdir()
    elif damage != "missing":
      place = self.rng.randrange(1, len(content) // 2)
      path.write_bytes({"empty": b"", "cut": content[:place], "no text": content[:place] + b"\xff\xfe\x00" + content[place:]}[damage])
    return path


class Mistake(NamedTuple):
  """A bad input.

  Attributes:
    words: what the command has besides.
    named: texts of which the sentence has one.
    taken: what is printed where a launcher may take it; None if it must be refused.
  """

  words: list[str]
  named: tuple[str, ...]
  taken: str | None = None


def _no_number(given: Given) -> Mistake:
  path = given.path_of(int, float)
  return Mistake([f"--{path}={given.rng.choice(('nan', 'inf', '', ' ', 'many', '9' * 400, '--1', '1,5', '1e999', 'None', 'é'))}"], (path,))


def _out_of_range(given: Given) -> Mistake:
  path = given.path_of(int, float)
  return Mistake([f"--{path}={given.rng.choice(('-1', '-1e300', str(10**17), '1e300'))}"], (path, "by its shapes"), taken="")


def _no_truth(given: Given) -> Mistake:
  path = given.path_of(bool)
  return Mistake([f"--{path}={given.rng.choice(('maybe', '2', 'None', '-'))}"], (path,))


def _unknown_name(given: Given) -> Mistake:
  known = ("space", "method", "hypergradient", "dataset", "split", "class_weights", "genotype", "evaluator", "methods", "sampler", "pruner")
  names = [path for path, kind, _ in given.fields if kind is str and path.rpartition(".")[2] in (*known, "preset", "executor")]
  path = given.rng.choice(names)
  return Mistake([f"--{path}={given.rng.choice(('darts', 'digits', 'random_search', 'x', 'ö')) + 'zq'}"], (path,))


def _unknown_flag(given: Given) -> Mistake:
  paths = [path for path, _, _ in given.fields]
  path = given.rng.choice(paths)
  place = given.rng.randrange(1, len(path))
  name = path[:place] + given.rng.choice("zq_.") + path[place:]
  return Mistake([f"--{name}=1"], (name,))


def _stray(given: Given) -> Mistake:
  words = (["stray"], ["--"], ["-"], ["--workdir"], [f"--{given.path_of(int)}"], ["--=3"])
  word = given.rng.choice(words[:1] + words[3:])
  return Mistake(word, (word[0].lstrip("-").partition("=")[0],))


def _no_folder(given: Given) -> Mistake:
  (given.beside / "file").write_text("mine")
  (given.beside / "full").mkdir()
  (given.beside / "full" / "thesis.tex").write_text("mine")
  file = given.beside / "file"
  places = ("", " ", file, file / "below", file / "far" / "below", "/proc/dnas/run", "~nobody_here/x", given.beside / "full", "/dev/null")
  place = given.rng.choice((*places, given.beside / ("x" * 300)))
  return Mistake([f"--workdir={place}"], ("--workdir", str(given.beside), "/proc", "/dev"))


def _folder_of_no_run(given: Given) -> Mistake:
  given.workdir.mkdir()
  texts = (b"", b"{", b"[]", b"\xff", b'{"launcher": 3}', b"[" * 5000, b'{"launcher": "x", "created": "", "config": {}, "versions": {}}')
  (given.workdir / "config.json").write_bytes(given.rng.choice(texts))
  return Mistake([], (str(given.workdir),))


def _no_flags(given: Given) -> Mistake:
  path = given.damaged("flags.txt", b"--" + b"zq" * 50)
  return Mistake([f"--flagfile={path}"], ("--flagfile", "zq"), taken="" if path.is_file() and not path.read_bytes() else None)


def _no_units(given: Given) -> Mistake:
  (given.beside / "wrong.py").write_text(given.rng.choice(("import nothing_of_the_kind", "def", "1 / 0", "raise SystemExit", "\0")))
  path = given.rng.choice((given.beside / "wrong.py", given.beside / "none.py", given.beside))
  return Mistake([f"--imports={path}"], ("--imports", "wrong"))


def _no_port(given: Given) -> Mistake:
  address = given.rng.choice(("here", "here:", "here:port", "here:0", "here:65536", "here:-1", ":1", "here:99999999999999999999"))
  return Mistake([f"--coordinator={address}", "--num_processes=2"], ("--coordinator", "--num_processes"))


def _no_cache(given: Given) -> Mistake:
  (given.beside / "file").write_text("mine")
  place = given.rng.choice(("/proc/dnas", given.beside / "file" / "x", "~nobody_here"))
  return Mistake([f"--compilation_cache={place}"], ("--compilation_cache",))


def _too_large(given: Given) -> Mistake:
  net = "supernet" if given.kind.endswith("search") else f"{given.training}network"
  size = "units" if "text" in given.kind else "channels"
  return Mistake([f"--{net}.{size}={given.rng.randrange(400_000, 10**9)}"], (f"{net}.{size}",))


def _no_genotype(given: Given) -> Mistake:
  path = given.damaged("cell.json", IMAGE_GENOTYPES["DARTS_V2"].to_json().encode())
  return Mistake([f"--{given.training}genotype={path}"], ("genotype", str(path)))


def _no_data(given: Given) -> Mistake:
  flag = f"--{given.training}data"
  if "text" in given.kind:
    given.damaged("ptb.train.txt", b"a b c d\n" * 50)
    return Mistake([f"{flag}.dataset=ptb", f"{flag}.data_dir={given.beside}"], (str(given.beside),))
  folder = given.beside / cifar.CIFAR10.folder
  folder.mkdir()
  for name in cifar.CIFAR10.files:
    given._replace(beside=folder).damaged(name, b"\x80\x02}(U\x06labels](K\x01" * 9)
  return Mistake([f"{flag}.dataset=cifar10", f"{flag}.data_dir={given.beside}"], (str(given.beside),))


def _no_table(given: Given) -> Mistake:
  path = given.damaged("table.npz", b"PK\x03\x04" + bytes(range(256)))
  return Mistake([f"--table={path}"], ("--table", str(path)))


def _no_budget(given: Given) -> Mistake:
  words = (["--methods=asha"], ["--methods=hyperband"], ["--seconds=1"], ["--epochs=13"], ["--methods=asha", "--asha.budgets=12,13"])
  return Mistake(given.rng.choice(words), ("methods", "seconds", "epochs"))


def _no_result(given: Given) -> Mistake:
  before = runs.KINDS[given.kind].before or given.kind
  shutil.copytree(given.beside.parent / f"unbroken_{before}" / "run", given.workdir)
  names = ["config.json", "result.json"] + ["journal.jsonl"] * (given.kind == "report")
  path = given.rng.choice(sorted(path for name in names for path in given.workdir.rglob(name)))
  content, damage = path.read_bytes(), given.rng.choice((b"", b"{", b"[]\n", b"\xff\xfe", b"null\n", b'{"a": NaN}\n', b"[" * 5000))
  path.write_bytes(damage + b"\n" + content if path.suffix == ".jsonl" else damage)
  return Mistake([], (str(path),), taken=f"{path.parent.name} (cannot be read)" if given.kind == "report" else None)


def _no_search_space(given: Given) -> Mistake:
  of = "train.learning_rate"
  texts = ("", ";", of, f"{of} = log(0, 1)", f"{of} = log(1, 0.1)", f"{of} = uniform(a, b)", f"{of} = choice()", f"{of} = int(0, 3)")
  texts += ("train.zq = log(1, 2)", f"{of} = zq(1, 2)", f"{of} = log(0.1, 1) if train.zq in (1)", "train.epochs = int(1, 2)", "x" * 5000)
  return Mistake([f"--search_space={given.rng.choice(texts)}"], ("search_space",))


def _no_storage(given: Given) -> Mistake:
  urls = ("nonsense", "sqlite:////nowhere/x.db", "sqlite:///", "postgresql+psycopg://", "zq://x@y/z", "mysql://", f"sqlite:///{given.beside}")
  return Mistake([f"--storage={given.rng.choice(urls)}", "--patience=0"], ("storage", "sqlite", "postgresql"))


EVERY = (_no_number, _no_number, _out_of_range, _no_truth, _unknown_name, _unknown_flag, _stray, _no_folder, _no_flags, _no_units, _no_port)
IMAGES = (*EVERY, _folder_of_no_run, _no_cache, _too_large, _no_data, _no_data)
MISTAKES: dict[str, tuple[Callable[[Given], Mistake], ...]] = {
  "search": IMAGES,
  "train": (*IMAGES, _no_genotype, _no_genotype, _no_result, _no_result),
  "text_search": IMAGES,
  "text_train": (*IMAGES, _no_genotype),
  "compare": (*EVERY, _folder_of_no_run, _no_cache, _no_table, _no_table, _no_budget, _no_result, _no_result),
  "tune": (*EVERY, _folder_of_no_run, _no_genotype, _no_search_space, _no_search_space, _no_storage),
  "report": (*EVERY, _no_result, _no_result, _no_result),
}


def main() -> int:
  """Runs the campaign, and prints its figures."""
  given = runs.arguments(__doc__, "inputs", 300, SHARES)
  given.folder.mkdir(parents=True, exist_ok=True)
  ledger = runs.Ledger(given.folder / "ledger.jsonl")
  for kind in {"train", "compare", "report"} & given.wanted.keys():
    kills.unbroken_run(runs.KINDS[kind].before or kind, given.folder, ledger)
  for kind, inputs in given.wanted.items():
    for number in range(inputs):
      if f"{kind} {number}" not in ledger.done:
        _give(kind, number, random.Random(f"{given.seed} {kind} {number}"), given.folder, ledger)
  told = [line for line in ledger.done.values() if "wrong" in line]
  bad = [line for line in told if line["wrong"]]
  statuses = dict(collections.Counter(line["status"] for line in told))
  ways = len({line["mistake"] for line in told})
  print(f"{len(told)} inputs, bad in {ways} ways, exit statuses {statuses}, {len(bad)} handled badly: {bad}")
  return bool(bad)


def _give(kind: str, number: int, rng: random.Random, folder: pathlib.Path, ledger: runs.Ledger) -> None:
  beside = folder / "beside"
  shutil.rmtree(beside, ignore_errors=True)
  beside.mkdir()
  launcher = runs.LAUNCHERS[runs.KINDS[kind].launcher].LAUNCHER
  config, options, _ = launcher.parse([kind, *(f"--{flag}" for flag in runs.KINDS[kind].flags)])
  fields = [field for one in (config, options) for field in config_lib.fields(one)]
  given = Given(rng, kind, beside / "run", beside, fields)
  make = rng.choice(MISTAKES[kind])
  mistake, before = make(given), _contents(beside)
  process = runs.Process(kind, given.workdir, folder / "cache", mistake.words)
  kills.sleep(process, PATIENCE)
  stopped = process.kill()
  printed = process.printed()
  sentences = [line for line in printed.splitlines() if line.startswith("error: ")]
  refused = process.status == _flags.BAD_INPUT
  wrong = ["a traceback"] * ("Traceback" in printed)
  taken = mistake.taken is not None and mistake.taken in printed and (stopped or process.status in (0, _flags.FAILED))
  if not refused and not taken:
    wrong.append("not refused")
  last = printed.splitlines()[-1:]
  if refused and not (len(sentences) == 1 and last == sentences and any(name in last[0] for name in mistake.named)):
    wrong.append("no sentence that names it")
  if refused and (written := sorted(set(_contents(beside).items()) ^ set(before.items()))):
    wrong.append(f"written: {written[:3]}")
  took = round(time.monotonic() - process.began, 2)
  words = [word[:200] for word in mistake.words]
  said = printed[-300:] if wrong or not sentences else sentences[0][:300]
  status = "taken" if stopped else process.status
  ledger.add(f"{kind} {number}", mistake=make.__name__, words=words, status=status, seconds=took, said=said, wrong=wrong)


def _contents(folder: pathlib.Path) -> dict[str, int]:
  """Returns the files and folders below a folder, and when files were changed, but for locks and what a run prints."""
  paths = (path for path in folder.rglob("*") if path.name != ".lock" and path.suffix != ".log" and "__pycache__" not in path.parts)
  return {str(path.relative_to(folder)): 0 if path.is_dir() else path.lstat().st_mtime_ns for path in paths}


if __name__ == "__main__":
  sys.exit(main())
