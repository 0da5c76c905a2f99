"""Reports a comparison: tables in Markdown and LaTeX, figures as PNG and SVG.

  dnas report --workdir=runs/compare

WORKDIR is the folder that dnas compare wrote. The report goes to WORKDIR/report. For every method it gives the mean over the searches, the
best of k searches at the cost of k searches, and the factor by which random search needs a larger budget for the same validation score.
"""

import dataclasses

import numpy as np

from dnas.core import durable
from dnas.core.config import check_at_most, check_positive, check_types
from dnas.core.errors import counted
from dnas.core.paths import expanded
from dnas.launchers import _flags
from dnas.report import comparison as comparisons


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
  """Writes the report, and prints its tables."""
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  root = expanded("--workdir", options.workdir)
  found = comparisons.load(root)
  folder = root / "report"
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
    if one.incomplete:
      print(f"left out, as they have not ended: {', '.join(one.incomplete[:5])}{' ...' if len(one.incomplete) > 5 else ''}")
  durable.write(folder / "report.md", "\n".join(markdown))
  durable.write(folder / "report.tex", "\n".join(latex))
  print(f"report: {folder / 'report.md'}")


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
  if one.config.get("table") == "synthetic":
    lines.append("- The table is planted: nothing here is a measurement.")
  return lines


LAUNCHER = _flags.Launcher("report", ReportConfig(), run, __doc__)
main = LAUNCHER.main
