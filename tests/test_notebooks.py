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
  EXPECTED[path.stem](names)


def check_search(names):
  assert names["space"].validate(names["found"].genotype) and len(names["errors"]) == 2
  assert all(0 < error < 60 for error in names["errors"].values()), "far better than chance, which is 90 %"


def check_comparison(names):
  means = {row[0]: float(row[5]) for row in names["table"].rows}
  assert set(means) == {"random_search", "regularized_evolution", "local_search"} and all(80 < mean < 96 for mean in means.values())
  assert names["journal"][-1][1].score <= names["best"][-1].score and len(names["figure"].axes) == 2
  assert len(names["best"]) > 5, "a search that improves is worth looking at"


def check_tuning(names):
  result = names["result"]
  assert result["best"]["values"] >= result["default"]["values"] and result["best"]["values"][0] > 0.8, "far above chance"
  assert result["epochs"] < 12 * 24 / 2 and len(result["test"]["values"]) == 2


def check_morphism(names):
  kinds = [edit.kind for edit in names["edits"]]
  assert names["difference"] < 1e-5 and sorted(kinds) == ["deeper", "kernel_growth", "skip", "wider"]
  assert abs(names["heir"].metrics["start/valid/accuracy"] - names["score"]) < 0.02, "copies have a little noise"
  assert names["heir"].score > names["alone"].score and len(names["rows"]) == 3


EXPECTED = {"01_build_search_draw": check_search, "02_compare": check_comparison, "03_tune": check_tuning, "04_morphism": check_morphism}
