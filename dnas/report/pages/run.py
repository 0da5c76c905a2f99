"""The page of a search, and that of a training."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dnas.core import json_files
from dnas.core.chain_space import ChainSpace
from dnas.core.costs import counted_adds, scaled
from dnas.core.genotype import Genotype
from dnas.core.records import BY_CLASS
from dnas.core.space import CellSpace
from dnas.report.draw import cell_title
from dnas.report.pages import cell as cells
from dnas.report.pages import figures
from dnas.report.pages.explorer import MOST_EPOCHS, explorer_of, notation
from dnas.report.pages.html import Block, Command, Drawing, Notes, Page, Plot, Plots, Section, Sheet, Text
from dnas.report.runs import Run
from dnas.report.tables import Table
from dnas.run import readings

_MEASURES = (("loss", "Loss", "nats", 1.0), ("accuracy", "Accuracy", "%", 100.0), ("perplexity", "Perplexity", "", 1.0))
_TRAIN, _VALID = 2, 1
"""Numbers of the colours of the two splits."""


@dataclasses.dataclass(frozen=True)
class About:
  """What the files of a run do not say by themselves.

  Attributes:
    space: the space of the architecture; None if it has none, or is not known here.
    warnings: sentences of warning.
    command: the command that repeats the run; empty if there is none.
    next: the command that goes on from it; empty if there is none.
  """

  space: CellSpace | ChainSpace | None = None
  warnings: Sequence[str] = ()
  command: str = ""
  next: str = ""


def search_page(run: Run, about: About) -> Page:
  """Returns the page of a search.

  Raises:
    InputError: if the weights of the run are not of its space, or a file does not hold what it should.
  """
  result = json_files.read_result(run.folder, {}) or {}
  epochs = len(run.metrics)
  method = f"{run.config.get('method', '')} in the space {run.config['space']}" if "space" in run.config else run.config.get("method", "")
  facts = [("Epochs", f"{epochs}"), *_measured(run, "valid", "supernet's validation"), *_measured(run, "discretized", "discretized")]
  last = run.metrics[-1] if run.metrics else {}
  if "normalized_entropy" in last:
    facts.append(("Entropy, of uniform", f"{100 * last['normalized_entropy']:.1f} %"))
  facts += [*_costs(result), *_time(run)]
  explorer = explorer_of(run, about.space)
  found = [Command(str(result.get("notation") or notation(run.genotype, about.space)))] if run.genotype else []
  architecture: list[Block] = [*([explorer] if explorer else []), *([Text(_PICKED)] if explorer and run.mixtures else [])]
  thinned = [Text(f"Of {len(run.genotypes):,} epochs the slider has {MOST_EPOCHS}.")] if len(run.genotypes) > MOST_EPOCHS else []
  sections = [
    Section("Diagnoses", _diagnoses(run, about.warnings, bool(result))),
    Section("Architecture over epochs", [*architecture, *thinned]),
    Section("Found", [*found, *([Text("This retrains it:"), Command(about.next)] if about.next else [])]),
    Section("Curves", [Plots(plots)] if (plots := [*_curves(run), *_diagnosis_curves(run)]) else []),
    Section("Repeat it", [Text(_REPEAT), Command(about.command)] if about.command else []),
    _recorded(run),
  ]
  return Page("Search", run.folder.resolve().name, f"{method}. {_state(run, bool(result))}".lstrip(". "), facts, sections)


_PICKED = "A square is the weight of an operation on an edge; a circle marks what the drawing keeps. The arrow keys move the slider."
_REPEAT = "It begins anew in another folder. The same versions on the same kind of device give the same bits."


def training_page(run: Run, about: About) -> Page:
  """Returns the page of a training.

  Raises:
    InputError: if a file does not hold what it should.
  """
  result = json_files.read_result(run.folder, {}) or {}
  facts = [("Epochs", f"{len(run.metrics)}"), *_ended(result), *(_measured(run, "valid", "validation") if not result else [])]
  facts += [*_costs(result), *_time(run)]
  what = run.config.get("model") or _source(str(run.config.get("genotype", "")))
  drawn: list[Block] = []
  if isinstance(run.genotype, Genotype) and about.space is not None:
    for name, cell in run.genotype.cells:
      drawn.append(Drawing(cell_title(name), cells.draw_cell(name, cell, about.space.num_inputs)))
    drawn.append(Command(notation(run.genotype, about.space)))
  tested = readings.load(run.folder)
  notes = [("", "", f"{readings.told(tested)[0].upper()}{readings.told(tested)[1:]}.")] if tested else []
  numbers = [Sheet(_by_class(result))] if any(BY_CLASS in name for name in result) else []
  sections = [
    Section("Result", [*([Notes([*_warned(about.warnings), *notes])] if notes or about.warnings else []), *numbers]),
    Section("Curves", [Plots(plots)] if (plots := _curves(run)) else []),
    Section("Network", drawn),
    Section("Repeat it", [Text(_REPEAT), Command(about.command)] if about.command else []),
    _recorded(run),
  ]
  return Page("Training", run.folder.resolve().name, f"{what}. {_state(run, bool(result))}".lstrip(". "), facts, sections)


def _source(genotype: str) -> str:
  return f"The network of {genotype}" if genotype and len(genotype) < 80 else "The network of a genotype"


def _state(run: Run, ended: bool) -> str:
  data = f" on {run.config['data.dataset']}" if "data.dataset" in run.config else ""
  begun = f"begun {run.created.replace('T', ' ').removesuffix('+00:00')} UTC" if run.created else "begun at an unknown time"
  return f"Seed {run.config.get('seed', '?')}{data}, {begun}, {'ended' if ended else 'not ended when this page was made'}."


def _ended(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Returns the numbers that a training ended in."""
  out = []
  for split, told in (("test", "Test"), ("valid", "Validation")):
    if isinstance(result.get(f"{split}/accuracy"), float):
      out.append((f"{told} error", f"{100 * (1 - result[f'{split}/accuracy']):.2f} %"))
    for name in ("perplexity", "dynamic_perplexity"):
      if isinstance(result.get(f"{split}/{name}"), float):
        out.append((f"{told} {name.replace('_', ' ')}", f"{result[f'{split}/{name}']:.2f}"))
    if isinstance(result.get(f"{split}/loss"), float):
      out.append((f"{told} loss", f"{result[f'{split}/loss']:.4f} nats"))
    if out:
      break
  return out


def _measured(run: Run, split: str, told: str) -> list[tuple[str, str]]:
  """Returns the last accuracy or perplexity of a split."""
  out = []
  for measure, _, unit, scale in _MEASURES[1:]:
    _, values = run.series(f"{split}/{measure}")
    if len(values):
      out.append((f"{told.capitalize()} {measure}", f"{scale * values[-1]:.2f} {unit}".rstrip()))
  return out


def _costs(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  out = []
  if isinstance(result.get("weights"), int):
    out.append(("Weights", f"{result['weights']:,}"))
  if isinstance(result.get("multiply_adds"), int):
    out.append(("Multiply-adds", counted_adds(result["multiply_adds"]).removesuffix(" multiply-adds")))
  return out


def _time(run: Run) -> list[tuple[str, str]]:
  seconds = [line["seconds"] for line in run.metrics if "seconds" in line]
  if not seconds:
    return []
  told = seconds[-1]
  return [("Time", f"{told:.0f} s" if told < 120 else f"{told / 60:.0f} min" if told < 7200 else f"{told / 3600:.1f} h")]


def _warned(warnings: Sequence[str]) -> list[tuple[str, str, str]]:
  return [("warning", "", f"{warning[0].upper()}{warning[1:]}".rstrip(".") + ".") for warning in warnings]


def _diagnoses(run: Run, warnings: Sequence[str], ended: bool) -> list[Block]:
  """Returns the warnings of a search, and what its diagnoses say, in words."""
  items, planned = _warned(warnings), run.config.get("darts.epochs", 0)
  if ended and run.config.get("remedies.stop_ratio") and len(run.metrics) < planned:
    told = f"The search ended after epoch {len(run.metrics)} of {planned}, because the dominant eigenvalue had grown."
    items.append(("", "Stopped early.", told))
  last = run.metrics[-1] if run.metrics else {}
  skips = [f"{_part(name.partition('/')[2])} has {int(last[name])}" for name in sorted(last) if name.startswith("skips/")]
  if skips:
    told = " and ".join(skips)
    items.append(("", "Skip connections.", f"{told[0].upper()}{told[1:]}. A search that collapses fills its cells with them."))
  if "normalized_entropy" in last:
    share = 100 * last["normalized_entropy"]
    items.append(("", "Entropy.", f"That of the mixture is {share:.1f} % of that of a uniform one. At 0 % every edge has decided."))
  values = [line["eigenvalue"] for line in run.metrics if "eigenvalue" in line and "decisions" not in line]
  if values:
    grown = values[-1] / values[0] if len(values) > 1 and values[0] else math.nan
    when = " before the first decision" if "decisions" in last else ""
    told = f"The dominant one of the architecture's Hessian ended at {values[-1]:.3g}{when}"
    told += f", {grown:.2g} times the first one. It often rises before a search collapses." if math.isfinite(grown) else "."
    items.append(("", "Eigenvalue.", told))
  if not items:
    return []
  return [*([] if warnings else [Text("There is no warning.")]), Notes(items)]


def _part(name: str) -> str:
  return "the network" if name == "choices" else f"the {cell_title(name).lower()}"


def _curves(run: Run) -> list[Plot]:
  out = []
  for measure, title, unit, scale in _MEASURES:
    lines = []
    for split, color in (("train", _TRAIN), ("valid", _VALID)):
      epochs, values = run.series(f"{split}/{measure}")
      if len(epochs):
        lines.append(({"train": "training", "valid": "validation"}[split], color, epochs, scale * values))
    if lines:
      out.append(figures.curves(title, lines, unit, logarithmic=measure == "perplexity"))
  for name, title, unit in (("learning_rate", "Learning rate", ""), ("temperature", "Temperature", "")):
    epochs, values = run.series(name)
    if len(epochs) > 1:
      out.append(figures.curves(title, [(title.lower(), 0, epochs, values)], unit))
  if len(run.series("cost/expected")[0]):
    lines = [(label, color, *run.series(f"cost/{label}")) for label, color in (("expected", _VALID), ("discrete", _TRAIN))]
    target, kind = float(run.config.get("cost.target") or 0), str(run.config.get("cost.of", "multiply_adds")).replace("_", "-")
    level = (f"target {scaled(target)}", target) if target else None
    out.append(figures.curves(f"Cost: {kind}", [line for line in lines if len(line[2])], "", level))
  return out


def _diagnosis_curves(run: Run) -> list[Plot]:
  names = sorted({name for line in run.metrics for name in line})
  out = []
  for group, title, unit in (("skips", "Skip connections", ""), ("entropy", "Entropy of the mixture", "nats")):
    lines = []
    for color, name in enumerate((name for name in names if name.startswith(f"{group}/")), start=1):
      part = name.partition("/")[2]
      lines.append((part if part == "choices" else cell_title(part).lower(), color, *run.series(name)))
    if lines:
      out.append(figures.curves(title, lines, unit))
  if "eigenvalue" in names:
    measure, scale, unit = ("accuracy", 100.0, "%") if "discretized/accuracy" in names else ("loss", 1.0, "nats")
    pairs = ((f"valid/{measure}", "supernet", _VALID), (f"discretized/{measure}", "discretized", _TRAIN))
    lines = [(label, color, run.series(name)[0], scale * run.series(name)[1]) for name, label, color in pairs]
    if all(len(line[2]) for line in lines):
      out.append(figures.curves(f"Validation {measure}, supernet and discretized", lines, unit))
    out.append(figures.curves("Dominant eigenvalue", [("eigenvalue", _VALID, *run.series("eigenvalue"))]))
  return out


def _by_class(result: Mapping[str, Any]) -> Table:
  rows = [(name.partition(f"{BY_CLASS}/")[2], f"{100 * result[name]:.2f}") for name in result if f"test/{BY_CLASS}/" in name]
  rows = rows or [(name.partition(f"{BY_CLASS}/")[2], f"{100 * result[name]:.2f}") for name in result if BY_CLASS in name]
  return Table("Accuracy by class, in percent", ("class", "accuracy"), tuple(rows))


def _recorded(run: Run) -> Section:
  """Returns the section with all that the run wrote down: configuration, versions and metrics."""
  return recorded(run.config, run.versions, run.command, [Sheet(_metrics(run), "Metrics of every epoch")] if run.metrics else [])


def recorded(config: Mapping[str, Any], versions: Mapping[str, Any], command: Sequence[str], more: Sequence[Block] = ()) -> Section:
  """Returns a section with configuration, versions, and the words of the command that began a run."""
  settings = Table("Every setting, by its flag", ("flag", "value"), tuple((f"--{name}", _told(value)) for name, value in config.items()))
  software = Table("What may change the bits of a result", ("name", "version"), tuple((name, _told(one)) for name, one in versions.items()))
  begun: list[Block] = [Text("It was begun by:"), Command(_started(command))] if command else []
  folded = [Sheet(settings, "Configuration"), Sheet(software, "Versions"), *more]
  return Section("Configuration and versions", [*folded, *begun])


def _started(command: Sequence[str]) -> str:
  """Returns the words that began a run, as a person types them: Python notes `python -m dnas` as the path of a file."""
  first, *rest = command
  return " ".join(["python -m dnas" if first.endswith("__main__.py") else first, *rest])


def _told(value: Any) -> str:
  return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _metrics(run: Run) -> Table:
  names = list(dict.fromkeys(name for line in run.metrics for name in line if BY_CLASS not in name))
  rows = tuple(tuple(f"{line[name]:.5g}" if name in line else "–" for name in names) for line in run.metrics)
  return Table("Losses in nats, accuracies as fractions", tuple(names), rows)
