"""The slider over the epochs of a search: what it shows at every position."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnas.core import json_files
from dnas.core.chain_space import ChainSpace
from dnas.core.choice_space import ChoiceGenotype
from dnas.core.errors import InputError
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace
from dnas.report.draw import cell_title, state_names
from dnas.report.pages import cell as cells
from dnas.report.pages.html import Explorer, Panel
from dnas.report.runs import Run

MOST_EPOCHS = 100
"""Most positions of the slider. Of a longer search evenly spread epochs are shown, the last one among them."""


def explorer_of(run: Run, space: CellSpace | ChainSpace | None) -> Explorer | None:
  """Returns the slider over the epochs of a search, and what it moves; None for a run without architectures, or of an unknown space.

  Raises:
    InputError: if the weights of the run are not of this space.
  """
  by_epoch = dict(run.genotypes)
  if not by_epoch:
    return None
  numbers = sorted(by_epoch)
  places = np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_EPOCHS)).round().astype(int))
  epochs = [numbers[place] for place in places]
  genotypes = [by_epoch[epoch] for epoch in epochs]
  rows = {int(epoch): row for row, epoch in enumerate(run.mixture_epochs)}
  known = [rows.get(epoch) for epoch in epochs]
  complete = bool(run.mixtures) and None not in known
  if all(isinstance(one, ChoiceGenotype) for one in genotypes):
    panels, shown = [], []
    panel, which = _panel_of_choices(run, genotypes, known if complete else None)
    panels, shown = [panel], [[one] for one in which]
  elif isinstance(space, CellSpace) and all(isinstance(one, Genotype) for one in genotypes):
    made = [_panel_of_cell(run, space, cell, genotypes, known if complete else None) for cell in space.cells]
    panels = [panel for panel, _ in made]
    shown = [list(row) for row in zip(*(which for _, which in made), strict=True)]
  else:
    return None
  return Explorer(epochs, panels, shown, [notation(one, space) for one in genotypes])


def _distinct(values: Sequence[Any]) -> tuple[list[Any], list[int]]:
  """Returns the different values in their order, and for each value its place among them."""
  different = list(dict.fromkeys(values))
  place = {value: number for number, value in enumerate(different)}
  return different, [place[value] for value in values]


def _panel_of_cell(run: Run, space: CellSpace, cell: str, genotypes: Sequence[Any], rows: Sequence[Any] | None) -> tuple[Panel, list[int]]:
  different, shown = _distinct([genotype[cell] for genotype in genotypes])
  names = state_names(cell, space.num_inputs, space.num_inputs + space.num_nodes)
  edges = [f"{cells.marked_name(names[source])} → {cells.marked_name(names[target])}" for source, target in space.edges]
  kept = []
  for one in different:
    pairs = [(space.edges.index((source, target)), space.operations.index(operation)) for target, node in
             enumerate(one.nodes, space.num_inputs) for operation, source in node]  # fmt: skip
    kept.append(pairs)
  weights = None
  if rows is not None:
    weights = run.mixtures[cell][list(rows)]
    if weights.shape[1:] != (len(space.edges), len(space.operations)):
      told = f"its weights are {weights.shape[1]} edges x {weights.shape[2]} operations"
      raise InputError(f"run folder '{run.folder}', cell '{cell}': {told}, which are not those of the space {space.name}.")
  drawings = [cells.draw_cell(cell, one, space.num_inputs) for one in different]
  return Panel(cell_title(cell), drawings, weights, edges, space.operations, (), kept), shown


def _panel_of_choices(run: Run, genotypes: Sequence[Any], rows: Sequence[Any] | None) -> tuple[Panel, list[int]]:
  options = options_of(run)
  different, shown = _distinct(genotypes)
  wide = max(map(len, options.values()))
  weights = None
  if rows is not None:
    weights = np.full((len(rows), len(options), wide), np.nan)
    for number, (name, names) in enumerate(options.items()):
      weights[:, number, : len(names)] = run.mixtures[name][list(rows), 0]
  texts = [[*names, *[""] * (wide - len(names))] for names in options.values()]
  order = list(options)
  kept = [[(order.index(name), options[name].index(one)) for name, chosen in each.choices for one in chosen] for each in different]
  drawings = [cells.list_choices(options, one) for one in different]
  return Panel("Choices", drawings, weights, order, [str(number) for number in range(wide)], texts, kept), shown


def options_of(run: Run) -> dict[str, tuple[str, ...]]:
  """Returns choice to its options, of a search in a network of a user's own. Raises InputError if network.json does not hold them."""
  path = run.folder / "network.json"
  text = json_files.read_text(path, "restore the file that the search wrote")
  try:
    return {line["choice"]: tuple(map(str, line["options"])) for line in json.loads(text) if "choice" in line}
  except (ValueError, KeyError, TypeError):
    raise InputError(f"{path} does not hold the choices of a network; restore the file that the search wrote.") from None


def notation(genotype: Any, space: CellSpace | ChainSpace | None) -> str:
  """Returns an architecture as one line."""
  return space.notation(genotype) if space is not None and isinstance(genotype, Genotype) else str(genotype)
