"""The page of several searches at once: a row for every seed, which links to the page of its search."""

from collections.abc import Mapping
from typing import Any

from dnas.core import json_files
from dnas.report.pages.html import NAME, Command, Page, Section, Sheet, Text
from dnas.report.pages.run import About, recorded
from dnas.report.runs import Run
from dnas.report.tables import Table


def seeds_page(run: Run, result: Mapping[str, Any], about: About) -> Page:
  """Returns the page of the folder above those of the seeds.

  Args:
    run: the run of that folder.
    result: its result; empty if it has not ended.
    about: what the files do not say.
  """
  folders = sorted(path.parent for path in run.folder.glob("seed_*/config.json"))
  results = [json_files.read_result(folder, {}) or {} for folder in folders]
  names = list(dict.fromkeys(name for one in results for name in one if name.startswith("valid/") and name.count("/") == 1))
  rows, links = [], {}
  for row, (folder, one) in enumerate(zip(folders, results, strict=True)):
    numbers = [f"{one[name]:.4g}" if isinstance(one.get(name), float) else "–" for name in names]
    rows.append((folder.name.removeprefix("seed_").lstrip("0") or "0", *numbers, str(one.get("notation", "not ended"))))
    if (folder / NAME).is_file():
      links[row, 0] = f"{folder.name}/{NAME}"
  table = Table("Every search", ("seed", *names, "found"), tuple(rows))
  facts = [("Seeds", str(len(folders)))]
  for name in names:
    spread = result.get(name)
    if isinstance(spread, dict):
      facts.append((f"{name}, mean", f"{spread['mean']:.4g} ± {spread['standard_deviation']:.2g}"))
  lead = f"{run.config.get('method', '')} in the space {run.config.get('space', '')}. ± is the standard deviation over the seeds."
  sections = [
    Section("Searches", [Sheet(table, links=links)]),
    Section("Repeat it", [Text("It begins anew in another folder."), Command(about.command)] if about.command else []),
    recorded(run.config, run.versions, run.command),
  ]
  return Page("Searches", run.folder.resolve().name, lead, facts, sections)
