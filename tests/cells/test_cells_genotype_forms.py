"""Genotypes come back: what is printed or written of an architecture is read as the same architecture, in every space and form."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from dnas.cells import darts_conv, nasbench201
from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, SPACES
from dnas.core import genotype as genotypes
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import CellSpace

OTHERS = (
  CellSpace("one_type", ("cell",), ("a", "b"), num_inputs=2, num_nodes=3, edges_per_node=2),
  CellSpace("three_edges", ("normal", "reduce"), ("none", "a"), num_inputs=2, num_nodes=4, edges_per_node=3, none_allowed=True),
  CellSpace("recurrent_pairs", ("recurrent",), ("none", "a", "b"), num_inputs=1, num_nodes=3, edges_per_node=2),
)
ALL = {space.name: space for space in (*(SPACES[name] for name in SPACES), *OTHERS)}

FORMS = {
  "JSON": lambda space, found: found.to_json(),
  "JSON on many lines": lambda space, found: json.dumps(json.loads(found.to_json()), indent=2) + "\n",
  "an object": lambda space, found: json.loads(found.to_json()),
  "an object in a result": lambda space, found: {"genotype": json.loads(found.to_json()), "seconds": 1.5},
  "text in a result": lambda space, found: {"genotype": found.to_json(), "seconds": 1.5},
  "a result": lambda space, found: json.dumps({"genotype": json.loads(found.to_json()), "notation": space.notation(found)}),
  "an older result": lambda space, found: json.dumps({"genotype": found.to_json(), "valid/loss": 0.5}, indent=2),
  "printed": lambda space, found: str(found),
  "printed by a search": lambda space, found: f"  {space.notation(found)}\n",
}


def architectures(space: CellSpace) -> st.SearchStrategy[Genotype]:
  return st.tuples(*(st.integers(0, size - 1) for size in space.decisions)).map(space.decode)


def operations_of(space: CellSpace, cell_type: str, edge: tuple[int, int]) -> tuple[str, ...]:
  return space.choices_of(cell_type, edge) if space.edge_choices and edge in space.edges else space.operations


@st.composite
def cells_of_any_size(draw: st.DrawFn, space: CellSpace) -> Genotype:
  """Networks of a space that a person may write: any number of nodes, of edges of a node, and any of the nodes in the output."""
  cells = []
  for name in space.cells:
    nodes = []
    for target in range(space.num_inputs, space.num_inputs + draw(st.integers(1, space.num_nodes + 1))):
      edges = [Edge(operation, source) for source in range(target) for operation in operations_of(space, name, (source, target))]
      nodes.append(tuple(draw(st.lists(st.sampled_from(edges), min_size=1, max_size=4))))
    states = st.sampled_from(range(space.num_inputs, space.num_inputs + len(nodes)))
    cells.append((name, CellGenotype(tuple(nodes), tuple(draw(st.lists(states, min_size=1, max_size=4, unique=True))))))
  return Genotype(space.name, tuple(cells))


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", list(ALL))
@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_every_architecture_comes_back_in_every_form(name: str, form: str, data: st.DataObject):
  space = ALL[name]
  found = data.draw(architectures(space))
  assert space.validate(space.parse(FORMS[form](space, found))) == found


@pytest.mark.parametrize("name", list(SPACES))
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_cells_of_other_sizes_come_back(name: str, data: st.DataObject):
  space = SPACES[name]
  found = data.draw(cells_of_any_size(space))
  assert space.validate(found) is found
  for form in FORMS:
    value = space.parse(FORMS[form](space, found))
    try:
      numbers = space.encode(found)
    except InputError:
      assert value == found, form
    else:  # the benchmark's own form puts the edges of a node in order
      assert space.encode(value) == numbers, form


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(found=architectures(nasbench201.SPACE))
def test_flat_lists_of_the_benchmark_have_one_two_and_three_edges(found: Genotype):
  cell = found["cell"]
  flat = [tuple(edge) for node in cell.nodes for edge in node]
  assert nasbench201.SPACE.parse(f"Genotype(cell={flat}, concat=[3])") == found
  assert nasbench201.from_string(nasbench201.SPACE.notation(found)) == found


def test_flat_lists_that_do_not_divide():
  edges = [("skip_connect", 0)] * 5
  with pytest.raises(InputError, match=r"5 edges do not divide into nodes of 1, 2, 3; give every node a list of its own"):
    nasbench201.SPACE.parse(f"Genotype(cell={edges}, concat=[3])")
  with pytest.raises(InputError, match=r"5 edges do not divide into nodes of 2; give every node a list of its own"):
    darts_conv.SPACE.parse(f"Genotype(normal={edges}, concat=[3])")
  with pytest.raises(InputError, match=r"5 edges do not divide into nodes of an unknown number; give every node a list of its own"):
    genotypes.parse(f"Genotype(normal={edges}, concat=[3])")


@pytest.mark.parametrize("registry", [IMAGE_GENOTYPES, LANGUAGE_GENOTYPES], ids=["images", "text"])
def test_published_cells_print_as_the_papers_do(registry):
  for name in registry:
    found = registry[name]
    assert "[[" not in str(found) and SPACES[found.space].parse(str(found)) == found


@pytest.mark.parametrize(
  "value", [{}, {"genotype": {}}, {"genotype": 3}, {"genotype": {"genotype": {"cells": {}}}}, 3, None, [], {"cells": []}]
)
def test_objects_that_are_no_genotype(value):
  with pytest.raises(InputError, match="is not a genotype|'cells'") as raised:
    darts_conv.SPACE.parse(value, "result.json")
  assert str(raised.value).startswith("result.json: ")


def test_an_object_with_a_number_of_no_state():
  value = json.loads(IMAGE_GENOTYPES["DARTS_V2"].to_json())
  value["cells"]["normal"]["nodes"][0][0][1] = 10**30
  with pytest.raises(InputError, match="is not a pair"):
    darts_conv.SPACE.parse(value)
