"""Plots hold the numbers of the run, in every shape of run, and leave Matplotlib's global state alone."""

import json
import math

import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.report.diagnoses import diagnoses_figure
from dnas.report.plots import learning_curves, mixture_heatmaps, mixture_lines, save_pictures
from dnas.report.runs import load_run


@pytest.fixture
def small():
  return CellSpace("small", ("normal", "reduce"), ("none", "skip_connect", "sep_conv_3x3"), num_inputs=2, num_nodes=2)


def written(axes):
  return [text.get_text() for text in axes.texts]


def check_inside(figure):
  """Every axes lies within the figure with all its texts, and the values beside curves do not overlap. Lengths are pixels."""
  FigureCanvasAgg(figure).draw()
  renderer = figure.canvas.get_renderer()
  for axes in figure.axes:
    box = axes.get_tightbbox(renderer)
    assert min(box.x0, box.y0) >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
    values = [text.get_window_extent(renderer) for text in axes.texts]
    assert not any(one.overlaps(two) for i, one in enumerate(values) for two in values[i + 1 :])


def test_learning_curves_hold_the_metrics(write_run, darts):
  run = load_run(write_run(darts, epochs=6))
  figure = learning_curves(run)
  loss, accuracy = figure.axes
  for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
    for line in axes.lines:
      epochs, values = run.series(f"{line.get_label()}/{name}")
      np.testing.assert_array_equal(line.get_xdata(), epochs)
      np.testing.assert_allclose(line.get_ydata(), scale * values)
    assert [line.get_label() for line in axes.lines] == ["train", "valid"]
  last = run.metrics[-1]
  assert sorted(written(loss)) == [f"train {last['train/loss']:.3f}", f"valid {last['valid/loss']:.3f}"]
  assert sorted(written(accuracy)) == [f"train {100 * last['train/accuracy']:.1f} %", f"valid {100 * last['valid/accuracy']:.1f} %"]
  assert figure.get_suptitle() == "Architecture search: run, 6 epochs"
  check_inside(figure)


def test_a_limited_search_has_a_panel_of_its_costs(write_run, small):
  folder = write_run(small, epochs=3)
  values = {"cost/expected": [90e3, 61e3, 60_400.0], "cost/discrete": [120e3, 31_136.0, 31_136.0], "cost/multiplier": [0.0, 0.1, 0.2]}
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  lines = [line | {name: column[row] for name, column in values.items()} for row, line in enumerate(lines)]
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  config = json.loads((folder / "config.json").read_text())
  config["config"] |= {"cost.target": 60e3, "cost.of": "multiply_adds"}
  (folder / "config.json").write_text(json.dumps(config))
  figure = learning_curves(load_run(folder))
  costs = figure.axes[2]
  assert costs.get_title(loc="left") == "multiply-adds; the dashed line is the target, 60 k"
  assert [line.get_ydata()[-1] for line in costs.lines] == [60_400.0, 31_136.0, 60e3]
  assert sorted(written(costs)) == ["discrete 31.14 k", "expected 60.4 k"]
  check_inside(figure)


def test_a_recurrent_run_has_perplexity_on_a_logarithmic_axis(write_run, recurrent):
  run = load_run(write_run(recurrent, epochs=20, measure="perplexity"))
  loss, perplexity = learning_curves(run).axes
  assert (loss.get_yscale(), perplexity.get_yscale()) == ("linear", "log")
  assert f"valid {run.metrics[-1]['valid/perplexity']:.1f}" in written(perplexity)


def test_a_training_without_validation_has_one_curve(write_run, darts):
  run = load_run(write_run(darts, epochs=3, launcher="train"))
  figure = learning_curves(run)
  assert figure.get_suptitle() == "Retraining: run, 3 epochs"
  assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["train"], ["train"]]


def test_curves_that_end_alike_or_break_are_written_apart(write_run, darts):
  folder = write_run(darts, epochs=2)
  with open(folder / "metrics.jsonl", "a") as file:
    file.write('{"epoch": 3, "train/loss": 1.0, "valid/loss": 1.0001, "train/accuracy": NaN, "valid/accuracy": 0.5}\n')
  figure = learning_curves(load_run(folder))
  check_inside(figure)
  assert sorted(written(figure.axes[1])) == ["train nan %", "valid 50.0 %"]


def test_without_an_epoch_there_are_no_curves(write_run, darts):
  folder = write_run(darts, epochs=1)
  (folder / "metrics.jsonl").write_text("")
  with pytest.raises(InputError, match=r"has no complete epoch with a loss in metrics\.jsonl; let the run finish an epoch\."):
    learning_curves(load_run(folder))


@pytest.mark.parametrize("epochs", [1, 50])
def test_lines_hold_the_mixture(write_run, darts, epochs):
  run = load_run(write_run(darts, epochs))
  figure = mixture_lines(run, darts.operations, darts.edges)
  panels = [axes for axes in figure.axes if axes.lines]
  names = {0: "$c_{k-2}$", 1: "$c_{k-1}$", **{state: str(state - 2) for state in range(2, 6)}}
  expected = [
    (cell, index, f"{names[source]}→{names[target]}") for cell in darts.cells for index, (source, target) in enumerate(darts.edges)
  ]
  assert len(panels) == len(expected) == 28
  for axes, (cell, index, title) in zip(panels, expected, strict=True):
    assert axes.get_title() == title
    assert [line.get_label() for line in axes.lines] == list(darts.operations)
    for operation, line in enumerate(axes.lines):
      np.testing.assert_array_equal(line.get_xdata(), run.mixture_epochs)
      np.testing.assert_array_equal(line.get_ydata(), run.mixtures[cell][:, index, operation])
    low, high = axes.get_ylim()
    assert low <= run.mixtures[cell].min() and run.mixtures[cell].max() <= high
  assert [text.get_text() for text in figure.legends[0].get_texts()] == list(darts.operations)


@pytest.mark.parametrize("epochs", [1, 50])
def test_heat_maps_hold_the_mixture(write_run, darts, epochs):
  run = load_run(write_run(darts, epochs))
  panels = [axes for axes in mixture_heatmaps(run, darts.operations, darts.edges).axes if axes.get_title()]
  expected = [(cell, operation) for cell in darts.cells for operation in range(len(darts.operations))]
  for axes, (cell, operation) in zip(panels, expected, strict=True):
    assert axes.get_title() == darts.operations[operation]
    mesh = axes.collections[0]
    np.testing.assert_array_equal(mesh.get_array(), run.mixtures[cell][:, :, operation].T)
    assert mesh.get_clim() == panels[0].collections[0].get_clim()
    assert axes.get_xlim() == (-0.5, epochs + 0.5)
    assert axes.get_ylim() == (14, 0)


def test_a_run_with_only_the_state_before_training_is_drawn(write_run, small):
  folder = write_run(small, epochs=1)
  lines = (folder / "architecture.jsonl").read_text().splitlines()
  (folder / "architecture.jsonl").write_text(lines[0])
  run = load_run(folder)
  for plot in (mixture_lines, mixture_heatmaps):
    check_inside(plot(run, small.operations, small.edges))


def test_weights_of_another_space_are_refused(write_run, small, darts):
  run = load_run(write_run(small, epochs=1))
  for plot in (mixture_lines, mixture_heatmaps):
    with pytest.raises(InputError, match="cell 'normal': the weights are 5 edges x 3 operations and the space has 14 x 8; give the space"):
      plot(run, darts.operations, darts.edges)


def test_saves_all_pictures_of_a_search(write_run, small):
  folder = write_run(small, epochs=2)
  before = dict(matplotlib.rcParams)
  paths = save_pictures(folder, small)
  assert [path.name for path in paths] == [
    "genotype.png",
    "genotype.svg",
    "learning_curves.png",
    "mixture_heatmaps.png",
    "mixture_lines.png",
  ]
  assert all(path.parent == folder / "pictures" and path.stat().st_size > 5000 for path in paths)
  assert matplotlib.pyplot.get_fignums() == []
  assert dict(matplotlib.rcParams) == before


def test_saves_the_pictures_that_the_data_allow(write_run, recurrent):
  folder = write_run(recurrent, epochs=2, launcher="train", measure="perplexity")
  assert [path.name for path in save_pictures(folder, recurrent)] == ["learning_curves.png"]
  (folder / "metrics.jsonl").unlink()
  assert save_pictures(folder, recurrent) == []


def test_a_recurrent_search_is_a_triangle_of_panels(write_run, recurrent):
  run = load_run(write_run(recurrent, epochs=2, measure="perplexity"))
  figure = mixture_lines(run, recurrent.operations, recurrent.edges)
  panels = [axes for axes in figure.axes if axes.lines]
  assert [axes.get_title() for axes in panels] == [f"{source}→{target}" for source, target in recurrent.edges]
  assert len(figure.axes) - len(panels) == math.comb(8, 2)


def test_diagnoses_hold_the_metrics(write_run, darts):
  folder = write_run(darts, epochs=6)
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  for epoch, line in enumerate(lines, 1):
    line |= {"skips/normal": epoch, "skips/reduce": 2, "entropy/normal": 2.0 / epoch, "entropy/reduce": 1.5}
    if epoch > 3:
      line["decisions"] = epoch // 2 - 1  # in epochs 4 and 6
    if epoch % 3 == 0:
      line |= {"discretized/accuracy": 0.1 * epoch, "discretized/loss": 1.0, "eigenvalue": 0.5 * epoch}
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  figure = diagnoses_figure(load_run(folder))
  skips, entropy, gap, eigenvalue = figure.axes
  assert [line.get_ydata().tolist() for line in skips.lines] == [[1, 2, 3, 4, 5, 6], [2] * 6]
  np.testing.assert_allclose(entropy.lines[0].get_ydata(), [2 / epoch for epoch in range(1, 7)])
  assert [set(line.get_xdata()) for line in entropy.lines[2:]] == [{4}, {6}]
  assert [line.get_label() for line in gap.lines] == ["supernet", "discretized"]
  np.testing.assert_allclose(gap.lines[1].get_ydata(), [30, 60])
  assert eigenvalue.lines[0].get_xdata().tolist() == [3, 6] and eigenvalue.lines[0].get_ydata().tolist() == [1.5, 3.0]
  check_inside(figure)


def test_a_run_without_diagnoses_is_refused(write_run, darts):
  with pytest.raises(InputError, match="has no diagnoses in metrics.jsonl"):
    diagnoses_figure(load_run(write_run(darts, epochs=2)))
