"""The plot of a search's diagnoses: does it collapse?"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnas.core.errors import InputError
from dnas.report.draw import cell_title
from dnas.report.palette import FAINT, INK, TRAIN, VALID
from dnas.report.runs import Run

_CELLS = (VALID, TRAIN, "#00804F", "#802070")


def diagnoses_figure(run: Run) -> Figure:
  """Plots skip connections and the entropy of the mixture of every cell, supernet beside discretized network, and the eigenvalue.

  A search collapses where skip connections fill its cells, most often after the dominant eigenvalue of the architecture's Hessian has risen
  (Zela et al., ICLR 2020). The discretized network is the supernet with its weights at the genotype of the epoch.

  Raises:
    InputError: if the run has no diagnoses.
  """
  names = {name for line in run.metrics for name in line}
  cells = sorted(name.partition("/")[2] for name in names if name.startswith("skips/"))
  if not cells:
    raise InputError(f"run folder '{run.folder}' has no diagnoses in metrics.jsonl; give the folder of a search.")
  measure = "accuracy" if "discretized/accuracy" in names else "loss"
  panels = [("skips", "skip connections"), ("entropy", "entropy of the mixture (nats)")]
  figure = Figure(figsize=(4.2 * (len(panels) + 2 * ("eigenvalue" in names)), 3.3), layout="constrained", facecolor="white")
  axes = figure.subplots(1, len(panels) + 2 * ("eigenvalue" in names))
  for panel, (group, title) in zip(axes, panels, strict=False):
    for cell, color in zip(cells, _CELLS, strict=False):
      _line(panel, run, f"{group}/{cell}", cell_title(cell), color)
    _finish(panel, title, len(cells) > 1)
    panel.set_ylim(0, max(1.1 * panel.dataLim.ymax, 0.1))
  epochs, decisions = run.series("decisions")  # of a projection
  for epoch in np.asarray(epochs)[np.diff(decisions, prepend=0) > 0]:
    axes[1].axvline(epoch, color=FAINT, linewidth=0.8, zorder=0)
  if len(decisions):
    axes[1].set_xlabel("epoch (a grey line is a decision)", size=9)
  axes[0].yaxis.set_major_locator(MaxNLocator(5, integer=True))
  if "eigenvalue" in names:
    scale, unit = (100.0, "accuracy (%)") if measure == "accuracy" else (1.0, "loss (nats)")
    _line(axes[2], run, f"valid/{measure}", "supernet", VALID, scale)
    _line(axes[2], run, f"discretized/{measure}", "discretized", TRAIN, scale)
    _finish(axes[2], f"validation {unit}", True)
    _line(axes[3], run, "eigenvalue", "", VALID)
    _finish(axes[3], "dominant eigenvalue", False)
    axes[3].set_ylim(0, 1.1 * axes[3].dataLim.ymax or 1)
  return figure


def _line(axes: Axes, run: Run, name: str, label: str, color: str, scale: float = 1.0) -> None:
  epochs, values = run.series(name)
  axes.plot(epochs, scale * np.asarray(values), color=color, linewidth=1.6, marker="o", markersize=3, label=label)


def _finish(axes: Axes, title: str, legend: bool) -> None:
  axes.set_title(title, size=10.5, loc="left", color=INK)
  axes.set_xlabel("epoch", size=9)
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.tick_params(labelsize=8, length=2.5, color=FAINT, labelcolor=INK)
  axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
  if legend:
    axes.legend(frameon=False, fontsize=8.5)
