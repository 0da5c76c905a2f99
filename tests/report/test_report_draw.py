"""Drawings show every edge once, with its operation, and nothing lies on top of anything else."""

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype, parse
from dnas.report.draw import cell_title, draw_genotype, save_drawing, state_names
from dnas.report.palette import operation_color

PUBLISHED = {
  "DARTS_V1": """Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0),
    ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0),
    ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2),
    ('avg_pool_3x3', 0)], reduce_concat=range(2, 6))""",
  "DARTS_V2": """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1),
    ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0),
    ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2),
    ('max_pool_3x3', 1)], reduce_concat=range(2, 6))""",
  "NASNet": """Genotype(normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1),
    ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1)], normal_concat=[2, 3, 4, 5, 6],
    reduce=[('sep_conv_5x5', 1), ('sep_conv_7x7', 0), ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0),
    ('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], reduce_concat=[4, 5, 6])""",
  "AmoebaNet": """Genotype(normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
    ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 1)], normal_concat=[4, 5, 6],
    reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
    ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5)], reduce_concat=[3, 4, 6])""",
}
RECURRENT = {
  "DARTS_V1": "relu0 relu1 tanh2 relu3 relu4 identity1 relu5 relu1",
  "DARTS_V2": "sigmoid0 relu1 relu1 identity1 tanh2 sigmoid5 tanh3 relu5",
  "ENAS": "tanh0 tanh1 relu1 tanh3 tanh3 relu3 relu4 relu7 relu8 relu8 relu8",
}


def recurrent_cell(name):
  nodes = tuple((Edge(word[:-1], int(word[-1])),) for word in RECURRENT[name].split())
  concat = (2, 5, 6, 9, 10, 11) if name == "ENAS" else tuple(range(1, 9))
  return Genotype("darts_recurrent", (("recurrent", CellGenotype(nodes, concat)),))


def patches(axes, label):
  return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch) and patch.get_label() == label]


def texts(axes, label):
  return [text for text in axes.texts if text.get_label() == label]


def check_content(genotype, figure):
  """Arrows and labels are those of the genotype, and links to the output those of its concatenation."""
  for (cell_type, cell), axes in zip(genotype.cells, figure.axes, strict=True):
    edges = [edge for node in cell.nodes for edge in node]
    assert [text.get_text() for text in texts(axes, "operation")] == [edge.operation for edge in edges]
    assert len(patches(axes, "edge")) == len(edges)
    assert len(patches(axes, "link")) == len(cell.concat) + 2 * (cell_type == "recurrent")


def check_clean(figure):
  """No two texts overlap, and no arrow runs through a box or through the label of another arrow. Lengths are pixels at 100 a inch."""
  renderer = FigureCanvasAgg(figure).get_renderer()
  for axes in figure.axes:
    boxes = [patch.get_window_extent(renderer) for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    labels = [text.get_window_extent(renderer) for text in texts(axes, "operation")]
    for one, two in itertools.combinations([*boxes, *labels], 2):
      assert not one.overlaps(two)
    for box in [*boxes, *labels]:
      assert (
        figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1) and figure.bbox.containsy(box.y0) and figure.bbox.containsy(box.y1)
      )
    curves = []
    for arrow in patches(axes, "edge") + patches(axes, "link"):
      curves.append(np.concatenate(arrow.get_path().transformed(axes.transData).to_polygons(closed_only=False)))
    for index, curve in enumerate(curves):
      for other in [box.padded(-2) for box in boxes] + [label for i, label in enumerate(labels) if i != index]:
        inside = (curve > other.min).all(axis=1) & (curve < other.max).all(axis=1)
        assert not inside.any()
    ends = np.round([curve[0] for curve in curves], 3)
    assert len(np.unique(ends, axis=0)) == len(ends)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_are_complete_and_clean(name):
  genotype = parse(PUBLISHED[name], "darts", [2])
  figure = draw_genotype(genotype, 2, title=name)
  check_content(genotype, figure)
  check_clean(figure)
  assert [axes.get_label() for axes in figure.axes] == ["normal", "reduce"]
  assert figure.texts[0].get_text() == name


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_cells_are_complete_and_clean(name):
  genotype = recurrent_cell(name)
  figure = draw_genotype(genotype, num_inputs=1)
  check_content(genotype, figure)
  check_clean(figure)
  names = [text.get_text() for text in texts(figure.axes[0], "state")]
  assert sorted(names) == sorted([*map(str, range(len(genotype["recurrent"].nodes) + 1)), "$x_{t}$", "$h_{t-1}$", "$h_{t}$"])


@pytest.mark.parametrize("seed", range(20))
def test_random_cells_are_complete_and_clean(darts, seed):
  genotype = darts.sample(np.random.default_rng(seed))
  figure = draw_genotype(genotype, 2)
  check_content(genotype, figure)
  check_clean(figure)


def test_an_edge_to_every_earlier_state_and_an_input_that_nothing_reads():
  dense = CellGenotype(tuple(tuple(Edge("nor_conv_3x3", i) for i in range(target)) for target in (1, 2, 3)), (3,))
  for cell, num_inputs in ((dense, 1), (CellGenotype(((Edge("skip_connect", 0), Edge("none", 0)),), (2,)), 2)):
    genotype = Genotype("space", (("cell", cell),))
    figure = draw_genotype(genotype, num_inputs)
    check_content(genotype, figure)
    check_clean(figure)


def test_states_carry_the_numbers_of_the_papers():
  assert state_names("normal", 2, 4) == ["$c_{k-2}$", "$c_{k-1}$", "0", "1"]
  assert state_names("cell", 1, 3) == ["$c_{k-1}$", "0", "1"]
  assert state_names("recurrent", 1, 3) == ["0", "1", "2"]
  assert [cell_title(name) for name in ("normal", "reduce", "recurrent", "cell")] == [
    "Normal cell",
    "Reduction cell",
    "Recurrent cell",
    "Cell",
  ]


def test_arrows_run_from_left_to_right_and_take_the_colour_of_their_operation():
  axes = draw_genotype(parse(PUBLISHED["NASNet"], "darts", [2]), 2).axes[1]
  for arrow, label in zip(patches(axes, "edge"), texts(axes, "operation"), strict=True):
    assert arrow.get_path().vertices[0, 0] < label.get_position()[0]
    assert to_rgb(arrow.get_edgecolor()) == to_rgb(label.get_color()) == to_rgb(operation_color(label.get_text()))


def test_saves_png_and_svg(tmp_path):
  png, svg = save_drawing(recurrent_cell("DARTS_V2"), tmp_path / "new" / "v1.2", num_inputs=1)
  assert (png.name, svg.name) == ("v1.2.png", "v1.2.svg")
  assert png.read_bytes()[:4] == b"\x89PNG"
  ids = [element.get("id") for element in ElementTree.parse(svg).iter() if element.get("id")]
  assert len(ids) == len(set(ids))


def test_states_that_do_not_come_before_are_refused():
  cell = CellGenotype(((Edge("tanh", 0),), (Edge("relu", 3),)), (1, 2))
  with pytest.raises(InputError, match="cell 'recurrent', node 2 has an edge from state 3; give a state from 0 to 1."):
    draw_genotype(Genotype("s", (("recurrent", cell),)), num_inputs=1)
  cell = CellGenotype(((Edge("tanh", 0),),), (4,))
  with pytest.raises(InputError, match="cell 'normal' concatenates state 4; give states from 0 to 2."):
    draw_genotype(Genotype("s", (("normal", cell),)), 2)
