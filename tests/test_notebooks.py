"""Every notebook is its .py twin, and the twin runs."""

import pathlib
import runpy

import jupytext
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_the_cells_of_its_twin(path):
  twin, notebook = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
  assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [(cell.cell_type, cell.source) for cell in twin.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_twin_runs(path, capsys):
  names = runpy.run_path(str(path))
  assert capsys.readouterr().out
  assert names["progress"].epoch == 6 and names["space"].validate(names["progress"].genotype)
