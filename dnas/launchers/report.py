"""Reports a comparison: tables in Markdown and LaTeX, figures as PNG and SVG. Makes the page of any run, report.html in its folder.

  dnas report --workdir=runs/compare

WORKDIR is the folder of a run. Of a search, a training or a tuning the page alone is made. The report of a comparison goes to
WORKDIR/report. For every method it gives the mean over the searches, the best of k searches at the cost of k searches, and the factor by
which random search needs a larger budget for the same validation score.
With costs among the objectives it also draws the fronts and the hypervolume over the budget, and lists the networks on the front of all
methods, with the command that retrains each.
For a contest of tunings it says which contestant won, with intervals.
"""

import dataclasses
import pathlib

import numpy as np

from dnas.core import durable
from dnas.core.config import check, check_at_most, check_positive, check_types
from dnas.core.errors import counted
from dnas.core.paths import expanded
from dnas.launchers import _flags, _objectives, _pages
from dnas.launchers._page_launchers import LAUNCHERS
from dnas.report import comparison as comparisons
from dnas.report import contest, fronts
from dnas.report.figures import save_both
from dnas.report.tables import Table


@dataclasses.dataclass(frozen=True)
class ReportConfig:
  """The settings of a report.

  Attributes:
    best_of: k, the number of searches in 'best of k'. The validation score chooses the best search; the report gives its test accuracy.
  """

  best_of: int = 4

  def __post_init__(self):
    check_types(self)
    check_at_most(10**6, best_of=self.best_of)
    check_positive(best_of=self.best_of)


def run(config: ReportConfig, options: _flags.Options, given: set[str]) -> None:
  """Writes the report and the page, and prints the tables of a comparison."""
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir)
  if (root / "config.json").exists():
    check("best_of" not in given, "best_of", config.best_of, "it is of the table of a comparison, so leave it out")
    print(f"page: {_pages.save(root, LAUNCHERS)}")
    return
  with _pages.made_of(root, "report"):
    _report_comparison(root, config, options.workdir)
  print(f"page: {_pages.save(root, LAUNCHERS, config.best_of)}")


def _report_comparison(root: pathlib.Path, config: ReportConfig, workdir: str) -> None:
  folder = root / "report"
  if (root / contest.FOLDER).is_dir():
    _report_contest(contest.load(root), folder)
    return
  found = comparisons.load(root)
  durable.make_folder(folder)
  markdown, latex = ["# Comparison of search methods", ""], []
  for one in found:
    prefix = f"{one.space}_{one.evaluator}_" if len(found) > 1 else ""
    table = comparisons.result_table(one, config.best_of)
    text = table.to_markdown()
    print(f"\n{text}")
    pairs, ranks = comparisons.correlation(one)
    markdown += [text, *_notes(one, config.best_of, len(pairs), ranks), ""]
    markdown += [f"![{path.stem}]({path.name})" for path in comparisons.save(one, folder, prefix)] + [""]
    latex.append(table.to_latex())
    if one.costs:
      lines, tables = _fronts(one, folder, prefix, workdir)
      markdown += lines
      latex += [each.to_latex() for each in tables]
    if one.incomplete:
      print(f"left out, as they have not ended: {', '.join(one.incomplete[:5])}{' ...' if len(one.incomplete) > 5 else ''}")
  durable.write(folder / "report.md", "\n".join(markdown))
  durable.write(folder / "report.tex", "\n".join(latex))
  print(f"report: {folder / 'report.md'}")


def _fronts(one: comparisons.Comparison, folder: pathlib.Path, prefix: str, root: str) -> tuple[list[str], list[Table]]:
  """Prints the hypervolumes and the networks on the fronts, and returns what the report has of them, in Markdown and as tables."""
  volumes = fronts.hypervolume_table(one)
  print(f"\n{volumes.to_markdown()}")
  tables, lines = [volumes], ["## Fronts", "", volumes.to_markdown()]
  for cost in one.costs:
    floor, ceiling, best, cheapest = fronts.bounds(one, cost)
    lines.append(
      f"- Hypervolume of accuracy and {cost}: the area up to the reference point, a validation score of {floor:.4g} at {ceiling:,.10g}, "
      f"as a share of the rectangle from there to a score of {best:.4g} at {cheapest:,.10g}. These are the lowest and the highest values "
      "of all evaluations of the comparison."
    )
  lines += ["", *(f"![{path.stem}]({path.name})" for path in fronts.save(one, folder, prefix)), ""]
  told: set[str] = set()
  for cost in one.costs:
    table = fronts.front_table(one, cost)
    commands = [_objectives.retraining(one.config, found.network.notation, root) for found in fronts.networks(one, cost)]
    said = "The commands that retrain them, in this order:" if all(commands) else "Nothing here retrains them: dnas has no such data."
    print(f"\n{table.to_markdown()}\n{said if set(commands) - told else 'The commands that retrain them stand above.'}")
    print("\n".join(line for line in commands if line and line not in told))
    told |= set(commands) - {""}
    lines += [table.to_markdown(), said, "", *(["```", *commands, "```", ""] if all(commands) else [])]
    tables.append(table)
  return lines, tables


def _report_contest(found: contest.Contest, folder: pathlib.Path) -> None:
  durable.make_folder(folder)
  table, verdict = contest.result_table(found), contest.verdict(found)
  print(f"\n{table.to_markdown()}\n{verdict}")
  lines = ["# Contest of tunings", "", table.to_markdown(), verdict, "![contest](contest.png)", "", _ABOUT_CONTESTS]
  if found.incomplete:
    lines += ["", f"Left out, as they have not ended: {', '.join(found.incomplete)}."]
    print(lines[-1])
  save_both(contest.figure(found), folder / "contest")
  durable.write(folder / "report.md", "\n".join([*lines, ""]))
  durable.write(folder / "report.tex", table.to_latex())
  print(f"report: {folder / 'report.md'}")


_ABOUT_CONTESTS = (
  "The budget pays for the search and for every trial, also for those that were ended early. It does not pay for the final training, which "
  "every contestant has once per seed. The interval of a difference is Welch's. Several differences are not corrected for their number."
)


def _notes(one: comparisons.Comparison, k: int, pairs: int, ranks: comparisons.RankCorrelation) -> list[str]:
  budget = float(one.config["seconds"])
  several, architectures = counted(k, "search", "searches"), counted(pairs, "architecture")
  lines = [
    f"- The best of {k} is chosen by validation and reported by test, on average over all sets of {several}; it costs "
    f"{k * budget:,.0f} accelerator seconds.",
    "- Times random search: the budget at which the best validation score of random search is expected to be the method's mean one, "
    "over the method's budget; the expectation is over draws without replacement from all evaluations of random search.",
    f"- Over {architectures} that were incumbents, the validation score that a search sees and the test accuracy have "
    f"Kendall's tau {ranks.kendall:.2f} and Spearman's rho {ranks.spearman:.2f}.",
  ]
  if np.isfinite(one.percentiles).any():
    lines.append("- The percentile of an architecture is the percentage of all architectures of the table that have a lower test accuracy.")
  if one.incomplete:
    lines.append(f"- Left out, as they have not ended: {', '.join(one.incomplete)}.")
  if one.config.get("table") == "synthetic" and one.evaluator == "tabular":
    lines.append("- The table is planted: nothing here is a measurement.")
  return lines


LAUNCHER = _flags.Launcher("report", ReportConfig(), run, __doc__, option_names=("workdir", "imports"))
main = LAUNCHER.main
