"""Makes the page of a run from its folder, whichever launcher wrote it: a search, a training, a tuning or a comparison."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dnas.cells.registries import CHAIN_SPACES, SPACES
from dnas.core import config as config_lib
from dnas.core import json_files
from dnas.core.chain_space import ChainSpace
from dnas.core.errors import InputError, first_line
from dnas.core.extras import needed_by
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace
from dnas.launchers import _commands, _output, _repeat
from dnas.launchers._flags import Launcher
from dnas.report import comparison, contest, runs
from dnas.report.pages import comparison as comparison_pages
from dnas.report.pages import html
from dnas.report.pages import run as run_pages
from dnas.report.pages import seeds as seed_pages
from dnas.report.pages import tuning as tuning_pages
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient import diagnostics

Launchers = Mapping[str, Launcher[Any]]
"""Name to launcher, of those whose commands may stand on a page."""


def save(folder: pathlib.Path, launchers: Launchers, best_of: int = 4) -> pathlib.Path:
  """Makes the page of a folder, and returns its path.

  Args:
    folder: the folder.
    launchers: the launcher that wrote it, or several of which one may have.
    best_of: of the table of a comparison; see `comparison.result_table`.

  Raises:
    InputError: if the folder is not that of a search, a training, a tuning or a comparison, or a file does not hold what it should.
    OSError: if the page cannot be written.
  """
  return html.save(page_of(folder, launchers, best_of), folder)


def save_or_warn(folder: pathlib.Path, launcher: Launcher[Any] | None = None) -> None:
  """Makes the page of a run that has ended, and prints its path. If that fails, a warning says why."""
  launchers = {} if launcher is None else {launcher.name: launcher}
  path = _output.drawn(lambda: save(folder, launchers), "page is not made", "makes it")
  if path:
    print(f"page: {path}", flush=True)


def page_of(folder: pathlib.Path, launchers: Launchers, best_of: int = 4) -> html.Page:
  """Returns the page of a folder. Raises InputError as `save` does."""
  with made_of(folder, "page"):
    return _page_of(folder, launchers, best_of)


@contextlib.contextmanager
def made_of(folder: pathlib.Path, made: str) -> Iterator[None]:
  """Raises InputError where something cannot be made of the files of a folder, since one of them is damaged."""
  try:
    yield
  except InputError:
    raise
  except (LookupError, TypeError, ValueError, ArithmeticError) as e:
    what = f"{type(e).__name__}: {first_line(e).rstrip('.')}"
    raise InputError(f"{folder} has no {made}, since a file in it does not hold what this version writes ({what}).") from e


def _page_of(folder: pathlib.Path, launchers: Launchers, best_of: int) -> html.Page:
  if (folder / contest.FOLDER).is_dir():
    return _contest_page(folder, launchers)
  if not (folder / "config.json").exists():
    if not any(folder.glob("*/*/*/seed_*/config.json")):
      raise InputError(f"{folder} holds no run; give the folder of a search, a training, a tuning or a comparison.")
    return _comparison_page(folder, launchers, best_of)
  header = json_files.read_object(folder / "config.json", _HINT, {"launcher": str, "config": dict})
  if header["launcher"] == "tune":
    command = _repeated(launchers, folder, header, config_lib.flatten)
    with needed_by("the page of a tuning"):
      from dnas.tune.study import DIRECTIONS
    return tuning_pages.tuning_page(folder, command, [name for name, direction in DIRECTIONS.items() if direction == "minimize"])
  if header["launcher"] not in ("search", "search_network", "train"):
    raise InputError(f"{folder} is the folder of a run of '{header['launcher']}', which has no page; give that of a search or a training.")
  run = runs.load_run(folder)
  space = _space_of(run.config)
  if run.launcher == "train":
    return run_pages.training_page(run, run_pages.About(space, command=_repeated(launchers, folder, header, _recorded)))
  result = json_files.read_result(folder, {}) or {}
  about = run_pages.About(space, _warnings(run, space, result), _search_command(launchers, folder, header), _retraining(folder, result))
  if run.config.get("num_seeds", 1) > 1 and any(folder.glob("seed_*/config.json")):
    return seed_pages.seeds_page(run, result, about)
  return run_pages.search_page(run, about)


_HINT = "give the file that the launcher wrote"


def _space_of(config: Mapping[str, Any]) -> CellSpace | ChainSpace | None:
  """Returns the space of a run without the operations that it left out; None if it has none, or is not known here."""
  name, without = str(config.get("space", "")), [part.strip() for part in str(config.get("without", "")).split(",") if part.strip()]
  if config.get("model") or name not in [*SPACES, *CHAIN_SPACES]:
    return None
  try:
    return SPACES[name].without(without) if name in SPACES else CHAIN_SPACES[name]
  except InputError:
    return None


def _warnings(run: runs.Run, space: CellSpace | ChainSpace | None, result: Mapping[str, Any]) -> Sequence[str]:
  """Returns the warnings of a search: those of its result, or for an earlier version those that its files give."""
  if isinstance(result.get("warnings"), list):
    return [str(warning) for warning in result["warnings"]]
  collapsed = diagnostics.collapse(space, run.genotype) if isinstance(space, CellSpace) and isinstance(run.genotype, Genotype) else ""
  undecided = diagnostics.undecided(run.metrics[-1]) if run.metrics and result else ""
  return [warning for warning in (collapsed, undecided) if warning]


def _retraining(folder: pathlib.Path, result: Mapping[str, Any]) -> str:
  """Returns the command that retrains what a search found; an empty text for a search of an earlier version."""
  recipe = result.get("retraining")
  if not isinstance(recipe, dict):
    return ""
  values = {**recipe, "genotype": folder, "workdir": folder.parent / f"{folder.name}_retrained"}
  return _commands.in_words("dnas train", [f"--{name}={_commands.text_of(value)}" for name, value in values.items()])


def _recorded(config: Any) -> dict[str, Any]:
  return config.recorded()


def _search_command(launchers: Launchers, folder: pathlib.Path, header: Mapping[str, Any]) -> str:
  """Returns the command that repeats a search; a seed of several is repeated with the others."""
  recorded, root = dict(header["config"]), folder
  if recorded.get("num_seeds", 1) > 1 and folder.name == f"seed_{recorded.get('seed', 0):04d}":
    root = folder.parent
    recorded["seed"] = min(int(path.name.partition("_")[2]) for path in root.glob("seed_*[0-9]"))
  return _repeated(launchers, root, {**header, "config": recorded}, _recorded)


def _repeated(
  launchers: Launchers, folder: pathlib.Path, header: Mapping[str, Any], recorded: Callable[[Any], Mapping[str, Any]]
) -> str:
  """Returns the command that repeats a run; an empty text if none does, or its launcher is not at hand."""
  launcher = launchers.get(header["launcher"])
  config = {name: value for name, value in header["config"].items() if name != "architecture"}
  if launcher is None:
    return ""

  def is_of(found: Any) -> bool:
    own = _repeat.as_recorded(recorded(found))
    missing = {name: value for name, value in _repeat.as_recorded(config_lib.defaults(found)).items() if name in own}
    return own == missing | config

  return _repeat.repeating(launcher, [str(word) for word in header.get("command") or ()], config, folder, is_of)


def _comparison_page(root: pathlib.Path, launchers: Launchers, best_of: int) -> html.Page:
  found = comparison.load(root)
  known = len(found) == 1 and "compare" in launchers
  command = _comparison_command(root, found[0], launchers["compare"]) if known else ""
  return comparison_pages.comparison_page(root, found, command, best_of)


def _comparison_command(root: pathlib.Path, one: comparison.Comparison, launcher: Launcher[Any]) -> str:
  """Returns the command that repeats a comparison; an empty text if none gives the settings of the first search of every method."""
  folders = {name: root / one.space / one.evaluator / name for name in one.methods}
  places = {name: min(path.parent for path in folder.glob("seed_*/result.json")) for name, folder in folders.items()}
  headers = {name: json_files.read_object(place / "config.json", _HINT, {"config": dict}) for name, place in places.items()}
  searches = max(len(list(folder.glob("seed_*/config.json"))) for folder in folders.values())

  def is_of(config: Any) -> bool:
    if set(config.method_names) != set(one.methods) or config.contestants or config.seeds != searches:
      return False
    for name, header in headers.items():
      seed = header["config"]["seed"]
      own, defaults = (_repeat.as_recorded(part) for part in (config.of_cell(name, seed), config.defaults_of_cell(name, seed)))
      if own != {path: value for path, value in defaults.items() if path in own} | header["config"]:
        return False
    return True

  first = next(iter(headers.values()))
  flags: dict[str, Any] = {"methods": ",".join(one.methods), "seeds": searches}
  for name, header in headers.items():
    own = {path: value for path, value in header["config"].items() if "." not in path or name in STRATEGIES}
    flags |= {path: value for path, value in own.items() if path not in ("seed", "method")}
  return _repeat.repeating(launcher, [str(word) for word in first.get("command") or ()], flags, root, is_of)


def _contest_page(root: pathlib.Path, launchers: Launchers) -> html.Page:
  found = contest.load(root)
  seeds = max(len(list(path.glob("seed_*/config.json"))) for path in (root / contest.FOLDER).iterdir())
  flags = {"contestants": ",".join(found.entries), "budget": found.budget, "budget_in": found.unit, "seeds": seeds}

  def is_of(config: Any) -> bool:
    return {**{name: getattr(config, name) for name in flags}, "contestants": ",".join(config.contestant_names)} == flags

  command = _repeat.repeating(launchers["compare"], (), flags, root, is_of) if "compare" in launchers else ""
  return comparison_pages.contest_page(root, found, command)
