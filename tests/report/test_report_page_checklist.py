"""The page of a comparison, and how each point of its checklist is decided."""

import json
import re

import pytest
from pages_made import VERSIONS, check_figures, comparison, data_of, edit, words_of

from dnas.report import comparison as comparisons
from dnas.report.pages import checklist, html
from dnas.report.pages.comparison import comparison_page


@pytest.fixture(autouse=True)
def small_library(monkeypatch):
  monkeypatch.setattr(html, "library", lambda: "")


def points(root):
  (found,) = comparisons.load(root)
  return checklist.points(root, found)


def state(root, words):
  (point,) = [point for point in points(root) if words in point.asked]
  return point.state, point.why


def test_a_comparison_has_a_table_curves_with_bands_a_front_and_the_checklist(tmp_path):
  root = comparison(tmp_path / "compared")
  found = comparisons.load(root)
  text = html.render(comparison_page(root, found, "dnas compare --x"))
  words, data = " ".join(words_of(text).split()), data_of(text)
  assert "Methods 2 Searches 6" in words and "dnas compare --x" in words and 'class="bands"' in text and "hypervolume" in words
  kinds = [{trace.get("type") for trace in figure["data"]} for figure in data["figures"]]
  assert check_figures(data["figures"]) == 5 and kinds[0] == {"box"}
  bands = [trace for trace in data["figures"][1]["data"] if trace.get("meta") == "band"]
  assert len(bands) == 4 and [trace["name"] for trace in data["figures"][1]["data"] if "name" in trace] == ["random_search", "tpe"]
  met = sum(point.state == checklist.MET for point in points(root))
  assert f"{met} of 13 points are met" in words and text.count('<span class="mark">Met</span>') == met


def test_a_comparison_of_accuracy_alone_has_no_front(tmp_path):
  root = comparison(tmp_path, objectives="accuracy")
  assert "Front of cost" not in html.render(comparison_page(root, comparisons.load(root), ""))


def test_names_of_users_are_text(tmp_path):
  root = comparison(tmp_path, methods=("random_search", "<script>x"))
  text = html.render(comparison_page(root, comparisons.load(root), ""))
  assert "<script>x" not in text and "<script>x" in words_of(text) and "<script>x" in str(data_of(text))


def test_a_sound_comparison_meets_what_its_folder_can_show(tmp_path):
  by_state = {}
  for point in points(comparison(tmp_path)):
    by_state.setdefault(point.state, []).append(re.sub(r"\W.*", "", point.asked))
  assert {name: len(found) for name, found in by_state.items()} == {checklist.MET: 9, checklist.NOT_MET: 2, checklist.UNKNOWN: 2}


def test_random_search_seeds_and_tables_are_looked_for(tmp_path):
  root = comparison(tmp_path, methods=("tpe",), seeds=1, table="synthetic")
  assert state(root, "random search")[0] == state(root, "repeated")[0] == checklist.NOT_MET
  assert state(root, "Tabular") == (checklist.NOT_MET, "The table is planted, so nothing here is a measurement.")
  assert state(root, "Confounding")[0] == checklist.UNKNOWN  # seconds were measured


def test_other_versions_or_devices_are_confounders(tmp_path):
  root = comparison(tmp_path)
  assert state(root, "Confounding")[0] == checklist.MET
  edit(root / "nasbench201/tabular/tpe/seed_0001", versions={"jax": "0.13"})
  assert state(root, "Confounding") == (checklist.NOT_MET, "Searches differ in what may change results: jax: 0.12 and 0.13.")


def test_measured_seconds_leave_the_load_of_the_machine_unknown(tmp_path):
  found, why = state(comparison(tmp_path, evaluator="training", table="synthetic"), "Confounding")
  assert found == checklist.UNKNOWN and "what else ran on the machine is not recorded" in why


def test_one_method_with_other_settings_is_an_ablation(tmp_path):
  root = comparison(tmp_path, methods=("random_search", "darts", "darts_projection"))
  assert state(root, "ablation")[0] == checklist.NOT_MET
  for name, projection in (("darts", False), ("darts_projection", True)):
    for seed in range(3):
      own = {f"{name}.method": "darts", f"{name}.seed": seed, f"{name}.remedies.projection": projection}
      edit(root / f"nasbench201/tabular/{name}/seed_{seed:04d}", config=own)
  found, why = state(root, "ablation")
  assert found == checklist.MET and why == "darts, darts_projection differ in remedies.projection alone."


def test_code_of_ones_own_and_missing_records_are_told(tmp_path):
  root = comparison(tmp_path)
  cell = root / "nasbench201/tabular/tpe/seed_0000"
  header = json.loads((cell / "config.json").read_text())
  del header["command"]
  (cell / "config.json").write_text(json.dumps(header | {"units": {"my_units": "digest"}, "versions": VERSIONS | {"dnas": "0.4.0"}}))
  assert "dnas 0.3.0 and 0.4.0, and code of your own in my_units" in state(root, "released")[1]
  assert state(root, "details of the setup")[0] == checklist.NOT_MET
