"""Figures of pages, as Plotly's data and layouts. Colours are names of the style sheet (`html`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.report.pages.html import Plot
from dnas.report.palette import CURVES


def series_name(index: int, kind: str = "series") -> str:
  """Returns the colour of the thing of a number, in the order of `palette.CURVES`; `kind` is 'series' or 'band'."""
  return f"--{kind}-{index % len(CURVES)}"


def curves(
  title: str,
  lines: Sequence[tuple[str, int, np.ndarray, np.ndarray]],
  unit: str = "",
  level: tuple[str, float] | None = None,
  logarithmic: bool = False,
) -> Plot:
  """Returns curves over epochs, with the values of an epoch under the pointer.

  Args:
    title: what they show.
    lines: (name, number of its colour, epochs [n], values [n]) of every curve.
    unit: the unit, for the axis.
    level: name and value of a line across, for instance a target.
    logarithmic: whether the axis is logarithmic.
  """
  traces: list[dict[str, Any]] = []
  for name, color, epochs, values in lines:
    trace = {"type": "scatter", "x": epochs, "y": values, "name": name, "mode": "lines+markers" if len(epochs) < 12 else "lines"}
    look = {"line": {"color": series_name(color), "width": 2}, "marker": {"size": 5, "color": series_name(color)}}
    traces.append({**trace, **look, "hovertemplate": "%{y:.4~g}"})
  layout = over(*span([epochs for _, _, epochs, _ in lines]), "epoch", unit)
  if logarithmic:
    layout["yaxis"]["type"] = "log"
  if level:
    line = {"color": "--ink", "width": 1, "dash": "dash"}
    ends = span([epochs for _, _, epochs, _ in lines])
    trace = {"type": "scatter", "x": ends, "y": [level[1]] * 2, "mode": "lines", "name": level[0], "line": line}
    traces.append({**trace, "hovertemplate": "%{y:.4~g}"})
  layout["showlegend"] = len(traces) > 1
  ends = [f"{name} {values[np.isfinite(values)][-1]:.4g}" for name, _, _, values in lines if np.isfinite(values).any()]
  return Plot(title, f"{title} over epochs; at the end {', '.join(ends) or 'not finite'}.", {"data": traces, "layout": layout})


def span(epochs: Sequence[np.ndarray]) -> tuple[float, float]:
  """Returns the first and the last of all epochs."""
  every = np.concatenate([np.asarray(one, float) for one in epochs])
  return float(every.min()), float(every.max())


def over(low: float, high: float, x: str, y: str) -> dict[str, Any]:
  """Returns the layout of curves over a range, with one label for all values under the pointer."""
  margin = 0.02 * (high - low) or 0.5
  return {
    "xaxis": {"title": {"text": x, "standoff": 6}, "range": [low - margin, high + margin], "nticks": 7},
    "yaxis": {"title": {"text": y, "standoff": 8}, "nticks": 6},
    "hovermode": "x unified",
  }


def bands(
  title: str, methods: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], x: str, y: str, limits: Sequence[float]
) -> Plot:
  """Returns a curve with a band for every method.

  Args:
    title: what they show.
    methods: name to (x, low, middle, high), each [n].
    x: the name of the horizontal axis.
    y: that of the vertical axis.
    limits: of the vertical axis.
  """
  traces: list[dict[str, Any]] = []
  for number, (name, (at, low, middle, high)) in enumerate(methods.items()):
    color = series_name(number)
    shared = {"type": "scatter", "x": at, "mode": "lines", "legendgroup": name}
    edge = {"line": {"width": 0, "color": color}, "hoverinfo": "skip", "showlegend": False, "meta": "band"}
    traces.append({**shared, **edge, "y": low})
    traces.append({**shared, **edge, "y": high, "fill": "tonexty", "fillcolor": series_name(number, "band")})
    line = {"line": {"color": color, "width": 2}, "name": name, "y": middle, "hovertemplate": "%{y:.4~g}"}
    traces.append({**shared, **line})
  layout = over(*span([at for at, *_ in methods.values()]), x, y)
  layout["yaxis"]["range"] = list(limits)
  ends = [f"{name} {middle[-1]:.4g}" for name, (_, _, middle, _) in methods.items() if len(middle)]
  return Plot(title, f"{title}; at the end {', '.join(ends)}.", {"data": traces, "layout": layout}, height=380)


def points(
  title: str,
  groups: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]],
  x: str,
  y: str,
  said: str,
  lines: bool = False,
  **axes: Any,
) -> Plot:
  """Returns points with a text under the pointer.

  Args:
    title: what they show.
    groups: name to (x [n], y [n], texts [n]).
    x: the name of the horizontal axis.
    y: that of the vertical axis.
    said: the figure in words.
    lines: whether steps connect the points.
    **axes: settings of 'xaxis' and 'yaxis' beside their names.
  """
  traces: list[dict[str, Any]] = []
  for number, (name, (at, values, texts)) in enumerate(groups.items()):
    mode, color = "lines+markers" if lines else "markers", series_name(number)
    look = {"marker": {"color": color, "size": 7, "opacity": 0.8}, "line": {"color": color, "width": 1.5, "shape": "hv"}}
    hover = {"text": list(texts), "hovertemplate": "%{text}<extra></extra>"}
    traces.append({"type": "scatter", "x": at, "y": values, "mode": mode, "name": name, **look, **hover})
  layout = {
    "xaxis": {"title": {"text": x, "standoff": 6}, **axes.get("xaxis", {})},
    "yaxis": {"title": {"text": y, "standoff": 8}, **axes.get("yaxis", {})},
    "hovermode": "closest",
    "showlegend": len(traces) > 1,
  }
  return Plot(title, said, {"data": traces, "layout": layout}, height=380)
