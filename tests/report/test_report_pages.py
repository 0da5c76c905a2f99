"""The pages of searches, trainings and tunings: what stands on them, that nothing of a user's ends an element, and that they are whole."""

import json
import re
import shutil

import numpy as np
import pytest
from pages_made import check_figures, data_of, tuning, words_of, write

from dnas.core.choice_space import ChoiceSpace, Point
from dnas.core.errors import InputError
from dnas.report.pages import explorer, html, seeds
from dnas.report.pages import run as run_pages
from dnas.report.pages.cell import draw_cell
from dnas.report.pages.tuning import tuning_page
from dnas.report.palette import CURVES, operation_color
from dnas.report.runs import load_run


@pytest.fixture(scope="module", autouse=True)
def small_library():
  """The library takes most of the time of a page, and is the same on all."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(html, "library", lambda: "")
    yield


def page_of(folder, space=None, **about):
  run = load_run(folder)
  make = run_pages.training_page if run.launcher == "train" else run_pages.search_page
  return make(run, run_pages.About(space, **about))


def test_a_search_has_its_slider_curves_diagnoses_and_command(write_run, darts):
  folder = write_run(darts, epochs=4)
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  for line in lines:
    line |= {"skips/normal": 3, "skips/reduce": 0, "entropy/normal": 1.5, "normalized_entropy": 0.93, "eigenvalue": 0.1 * line["epoch"]}
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  text = html.render(page_of(folder, darts, warnings=["the search decided little"], command="dnas search --a=b", next="dnas train --c"))
  words, data = words_of(text), data_of(text)
  for told in ("The search decided little.", "The normal cell has 3 and the reduction cell has 0", "93.0 %", "4 times the first one"):
    assert told in words
  assert "dnas search --a=b" in words and "dnas train --c" in words and "--darts.seed" in words and "0.10" in words
  (slider,) = data["explorers"]
  assert slider["epochs"] == [1, 2, 3, 4] and len(slider["said"]) == 4
  assert [panel["title"] for panel in slider["panels"]] == ["Normal cell", "Reduction cell"]
  lines[-1]["decisions"] = 1
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  assert "ended at 0.3 before the first decision, 3 times the first one" in words_of(html.render(page_of(folder, darts)))
  run = load_run(folder)
  for number, panel in enumerate(slider["panels"]):
    cell = darts.cells[number]
    np.testing.assert_allclose(panel["weights"], run.mixtures[cell][1:], atol=1e-5)  # the epoch 0 has no architecture
    for (_, genotype), row in zip(run.genotypes, slider["shown"], strict=True):
      assert panel["drawings"][row[number]] == draw_cell(cell, genotype[cell], 2)
      kept = {(darts.edges[edge], darts.operations[operation]) for edge, operation in panel["kept"][row[number]]}
      edges = {((source, target), one) for target, node in enumerate(genotype[cell].nodes, 2) for one, source in node}
      assert kept == edges
  assert check_figures(data["figures"]) == 6


def test_the_same_files_give_the_same_page(write_run, darts):
  folder = write_run(darts, epochs=2)
  path = html.save(page_of(folder, darts), folder)
  before = path.stat().st_mtime_ns
  assert html.save(page_of(folder, darts), folder) == path == folder / "report.html" and path.stat().st_mtime_ns == before


EVIL = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'


def test_nothing_of_a_user_becomes_an_element(write_run, darts):
  folder = write_run(darts, epochs=2)
  header = json.loads((folder / "config.json").read_text())
  header |= {"config": {"method": EVIL, "data.data_dir": EVIL}, "command": ["dnas", EVIL], "versions": {EVIL: EVIL}, "created": EVIL}
  write(folder / "config.json", header)
  moved = folder.with_name("run<b>&")
  shutil.move(folder, moved)
  text = html.render(page_of(moved, darts, warnings=[EVIL], command=EVIL, next=EVIL))
  assert "<img" not in text and "<b>" not in text and "alert(2)</script>" not in text
  assert text.count("<script") == 3 and EVIL in words_of(text) and "run<b>&" in words_of(text)


@pytest.mark.parametrize("missing", ["metrics.jsonl", "architecture.jsonl", "genotypes", "result.json"])
def test_a_run_that_lacks_files_has_a_page_of_the_others(write_run, darts, missing):
  folder = write_run(darts, epochs=2)
  path = folder / missing
  shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
  data = data_of(html.render(page_of(folder, darts)))
  assert bool(data["explorers"]) == (missing != "genotypes") and bool(data["figures"]) == (missing != "metrics.jsonl")
  if missing == "architecture.jsonl":
    assert all(panel["weights"] is None for panel in data["explorers"][0]["panels"])


def test_a_space_that_is_not_known_leaves_the_slider_out(write_run, darts):
  assert data_of(html.render(page_of(write_run(darts, epochs=2))))["explorers"] == []


def test_weights_of_another_space_are_refused(write_run, darts, recurrent):
  with pytest.raises(InputError, match="not those of the space darts"):
    page_of(write_run(darts, epochs=2), darts.without(["none"]))


def test_a_long_search_shows_evenly_spread_epochs(write_run, recurrent, monkeypatch):
  monkeypatch.setattr(explorer, "MOST_EPOCHS", 5)
  slider = explorer.explorer_of(load_run(write_run(recurrent, epochs=21, measure="perplexity")), recurrent)
  assert slider is not None and slider.epochs == [1, 6, 11, 16, 21] and slider.panels[0].weights.shape == (5, 36, 5)


def test_losses_that_are_not_finite_are_no_numbers(write_run, darts):
  folder = write_run(darts, epochs=2)
  with open(folder / "metrics.jsonl", "a") as file:
    file.write('{"epoch": 3, "train/loss": NaN, "valid/loss": Infinity}\n')
  loss = data_of(html.render(page_of(folder, darts)))["figures"][0]
  assert [trace["y"][-1] for trace in loss["data"]] == [None, None]


def test_a_training_has_its_result_network_and_curves(write_run, darts):
  folder = write_run(darts, epochs=3, launcher="train")
  genotype = darts.sample(np.random.default_rng(0))
  (folder / "genotype.json").write_text(genotype.to_json())
  result = {"test/accuracy": 0.9125, "test/loss": 0.25, "weights": 1234, "multiply_adds": 5_000_000, "test/accuracy_by_class/cat": 0.5}
  write(folder / "result.json", result)
  reading = {"date": "2026-11-29", "command": ["dnas"], "dataset": "digits", "numbers": {"loss": 0.25}}
  (folder / "test_readings.jsonl").write_text(json.dumps(reading) + "\n")
  text = html.render(page_of(folder, darts, command="dnas train"))
  for told in ("Test error 8.75 %", "Weights 1,234", "5 M", "Test sets were read 1 time: digits 1", "Normal cell", "cat 50.00"):
    assert told in " ".join(words_of(text).split()), told
  assert check_figures(data_of(text)["figures"]) == 3 and text.count('<svg class="cell"') == 2


def test_a_network_of_a_users_own_has_a_list_of_choices(write_run, darts):
  folder = write_run(darts, epochs=2)
  space = ChoiceSpace("network", (Point("first", ("conv", "skip")), Point("second", ("wide", "narrow", "none"))))
  rng = np.random.default_rng(0)
  for epoch in (1, 2):
    (folder / "genotypes" / f"epoch_{epoch:04d}.json").write_text(space.sample(rng).to_json())
  mixtures = [{"epoch": epoch, "mixture": {"first": [[0.7, 0.3]], "second": [[0.5, 0.25, 0.25]]}} for epoch in range(3)]
  (folder / "architecture.jsonl").write_text("".join(json.dumps(line) + "\n" for line in mixtures))
  write(folder / "network.json", [{"choice": point.name, "options": point.options, "kept": 1} for point in space.points] + [{"array": "a"}])
  (folder / "genotype.json").unlink()
  (slider,) = data_of(html.render(page_of(folder)))["explorers"]
  (panel,) = slider["panels"]
  assert panel["rows"] == ["first", "second"] and panel["weights"][1] == [[0.7, 0.3, None], [0.5, 0.25, 0.25]]
  for (_, genotype), (shown,) in zip(load_run(folder).genotypes, slider["shown"], strict=True):
    kept = {(panel["rows"][row], panel["texts"][row][column]) for row, column in panel["kept"][shown]}
    assert kept == {(name, option) for name, options in genotype.choices for option in options}
    assert all(f"{option} (kept)" in panel["drawings"][shown] for _, option in kept)
  (folder / "network.json").write_text("[3]")
  with pytest.raises(InputError, match="does not hold the choices"):
    page_of(folder)


def test_several_seeds_have_a_page_that_links_to_theirs(write_run, darts):
  folder = write_run(darts, epochs=1)
  for seed, accuracy in ((2, 0.5), (3, None)):
    own = folder / f"seed_{seed:04d}"
    own.mkdir()
    shutil.copy(folder / "config.json", own)
    if accuracy:
      write(own / "result.json", {"valid/accuracy": accuracy, "notation": "|a|"})
      (own / "report.html").touch()
  text = html.render(seeds.seeds_page(load_run(folder), {}, run_pages.About()))
  assert re.findall('<a href="(seed[^"]*)">(.*?)</a>', text) == [("seed_0002/report.html", "2")] and "not ended" in words_of(text)


def test_a_tuning_has_its_trials_history_parameters_and_best(tmp_path):
  folder = tuning(tmp_path / "tuned")
  text = html.render(tuning_page(folder, "dnas tune --x", ["loss"]))
  words, figures = " ".join(words_of(text).split()), data_of(text)["figures"]
  for told in ("Trials 4", "Complete 2", "Pruned 1", "Best validation accuracy 0.95", "dnas train --model=resnet", "dnas tune --x"):
    assert told in words, told
  assert "failed: <img src=x onerror=alert(1)>" in words and "<img" not in text and check_figures(figures) == 2
  history, parallel = figures
  assert [trace["x"] for trace in history["data"]] == [[0, 3], [1], [0, 3]] and history["data"][-1]["y"] == [0.9, 0.95]
  rate, schedule, depth, accuracy = parallel["data"][0]["dimensions"]
  assert rate["label"] == "learning_rate (log)" and schedule["ticktext"] == ["cosine", "linear"] and schedule["values"] == [0, 1, 1]
  assert depth["values"] == [8, 14, 26] and accuracy["values"] == [0.9, 0.5, 0.95]
  less = data_of(html.render(tuning_page(folder, "", ["accuracy"])))["figures"][0]["data"][-1]["y"]
  assert less == [0.9, 0.9]  # where less is better


@pytest.mark.parametrize("text, match", [(None, "has no trials.json yet"), ("{", "does not hold the trials"), ("[{}]", "does not hold")])
def test_trials_that_cannot_be_read_are_refused(tmp_path, text, match):
  folder = tuning(tmp_path / "tuned")
  (folder / "trials.json").unlink()
  if text is not None:
    (folder / "trials.json").write_text(text)
  with pytest.raises(InputError, match=match):
    tuning_page(folder, "", [])


def test_the_style_sheet_has_the_colours_of_the_pictures_and_enough_contrast():
  sheet = html._own("page.css")
  pairs = {name: colors for name, *colors in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", sheet)}
  assert [pairs[f"series-{number}"][0].upper() for number in range(len(CURVES))] == [color.upper() for color in CURVES]
  assert all(operation_color(name) in CURVES for name in ("none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "other"))
  for name in ("ink", "soft", "link", *(f"series-{number}" for number in range(len(CURVES)))):
    for side in (0, 1):
      assert contrast(pairs[name][side], pairs["ground"][side]) >= 4.5, (name, side)
  for side in (0, 1):
    assert contrast(pairs["warn"][side], pairs["warn-ground"][side]) >= 4.5


def contrast(first, second):
  """By the Web Content Accessibility Guidelines 2.2."""
  light, dark = sorted((luminance(first), luminance(second)), reverse=True)
  return (light + 0.05) / (dark + 0.05)


def luminance(color):
  parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
  linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
