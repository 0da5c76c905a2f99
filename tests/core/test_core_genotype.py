"""Genotypes: what is printed parses back, nothing that is parsed runs, and every mistake is one line that names the place and the mend."""

import json
import os
import random
import re
import string

import pytest

from dnas.core import genotype
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import CellSpace

SPACE = CellSpace("conv", ("normal", "reduce"), ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"), num_nodes=2)
RECURRENT = CellSpace("rnn", ("recurrent",), ("none", "tanh", "relu", "sigmoid", "identity"), 1, 8, 1)

CELL = CellGenotype(((Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)), (Edge("max_pool_3x3", 2), Edge("max_pool_3x3", 0))), (2, 3))
CONV = Genotype("conv", (("normal", CELL), ("reduce", CellGenotype(CELL.nodes, (3,)))))
NORMAL = "normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 2), ('max_pool_3x3', 0)], normal_concat="
REDUCE = NORMAL.replace("normal", "reduce")
PUBLISHED = f"Genotype({NORMAL}range(2, 4), {REDUCE}[3])"

DARTS_V2_EDGES = [("sigmoid", 0), ("relu", 1), ("relu", 1), ("identity", 1), ("tanh", 2), ("sigmoid", 5), ("tanh", 3), ("relu", 5)]
RNN = Genotype("rnn", (("recurrent", CellGenotype(tuple((Edge(*edge),) for edge in DARTS_V2_EDGES), tuple(range(1, 9)))),))


def read(text: str, space: CellSpace = SPACE) -> Genotype:
  return space.validate(space.parse(text, "cell.json"), where="cell.json")


def refusal(text: str, space: CellSpace = SPACE) -> str:
  with pytest.raises(InputError) as error:
    read(text, space)
  message = str(error.value)
  assert message.startswith("cell.json") and message.endswith(".") and len(message.splitlines()) == 1 and message.isprintable()
  assert len(message) < 400
  return message


def json_text(**changes: object) -> str:
  """JSON of a valid genotype; `normal` replaces a cell, other fields stand at the top."""
  value = json.loads(CONV.to_json())
  value["cells"].update({name: cell for name, cell in changes.items() if name in SPACE.cells})
  return json.dumps(value | {name: field for name, field in changes.items() if name not in SPACE.cells})


def cell_text(nodes: object, concat: object = (2, 3)) -> str:
  return json_text(normal={"nodes": nodes, "concat": concat})


# What is printed parses back.


@pytest.mark.parametrize(("architecture", "space"), [(CONV, SPACE), (RNN, RECURRENT)])
def test_json_and_published_form_round_trip(architecture: Genotype, space: CellSpace):
  assert "\n" not in architecture.to_json() and "\n" not in str(architecture)
  assert read(architecture.to_json(), space) == architecture
  assert read(str(architecture), space) == architecture
  assert hash(read(str(architecture), space)) == hash(architecture)


def test_published_text_is_read_with_its_ranges_and_lines():
  assert read(PUBLISHED) == CONV
  assert read("  " + PUBLISHED.replace(", ", ",\n  ") + "\n") == CONV
  assert read(f"Genotype({REDUCE}range(3, 4), {NORMAL}range(3, 1, -1))")["normal"].concat == (3, 2)
  assert read(f"Genotype(recurrent={DARTS_V2_EDGES}, concat=range(1, 9))", RECURRENT) == RNN
  assert read(f"Genotype(recurrent={DARTS_V2_EDGES}, recurrent_concat=range(1, 9))", RECURRENT) == RNN


def test_the_printed_form_is_the_papers():
  assert str(CONV).startswith("Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 2), ")
  assert ", normal_concat=[2, 3], reduce=[" in str(CONV) and str(CONV).endswith("reduce_concat=[3])")
  assert str(RNN) == f"Genotype(recurrent={DARTS_V2_EDGES}, concat=[1, 2, 3, 4, 5, 6, 7, 8])"


def test_json_names_its_space_or_takes_the_readers():
  assert genotype.parse(json_text(space="other"), "conv").space == "other"
  value = json.loads(CONV.to_json())
  del value["space"]
  assert genotype.parse(json.dumps(value), "conv") == CONV


def test_json_holds_nodes_of_different_length():
  cell = CellGenotype(((Edge("skip_connect", 0),), (Edge("skip_connect", 2), Edge("skip_connect", 0), Edge("skip_connect", 1))), (2, 3))
  uneven = Genotype("conv", (("normal", cell), ("reduce", cell)))
  assert read(uneven.to_json()) == uneven


def test_cells_are_found_by_name():
  assert CONV["reduce"].concat == (3,)
  with pytest.raises(KeyError):
    CONV["recurrent"]


# Nothing that is parsed runs.


@pytest.mark.parametrize(
  "expression",
  [
    "__import__('os').system('touch ran')",
    "[__import__('os').system('touch ran')]",
    "open('ran', 'w')",
    "range(open('ran', 'w'))",
    "range(*[2, 6])",
    "(lambda: open('ran', 'w'))()",
    "[open('ran', 'w') for _ in (1,)]",
    "[*open('ran', 'w')]",
    'f\'{open("ran", "w")}\'',
    "(ran := open('ran', 'w'))",
  ],
)
@pytest.mark.parametrize("field", ["normal", "normal_concat"])
def test_malicious_text_never_runs(expression: str, field: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  assert "does not parse" in refusal(f"Genotype({field}={expression})")
  assert "does not parse" in refusal(f"Genotype({NORMAL}[2, 3], {REDUCE}[2], **{expression})")
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  "bomb",
  ["[" * 190 + "]" * 190, "[" * 40_000, "-" * 90_000 + "1", "not " * 20_000 + "1", "1 if 1 else " * 8_000 + "1", "a" + ".a" * 40_000]
  + ["+".join(["1"] * 40_000), "f" + "()" * 40_000, "range(10**12)", "range(1000000000000)", "range(20001)"]
  + ["range(-" + "9" * 19 + ", " + "9" * 19 + ")", "range(0, -" + "9" * 19 + ", -1)"]
  + ["9" * 25, "9" * 5000, "0x" + "f" * 50_000, "[('skip_connect', 0x" + "f" * 50_000 + ")]", "'a' * 10**10", "10 ** 10 ** 10"],
  ids=lambda bomb: f"{bomb[:12]}..{len(bomb)}",
)
def test_bombs_are_refused(bomb: str):
  for text in (f"Genotype(normal={bomb})", f"Genotype(normal={bomb}, normal_concat={bomb})", f'{{"cells": {{"normal": {bomb}}}}}'):
    refusal(text)
  refusal('{"cells": {"normal": {"nodes": ' + bomb + "}}}")
  refusal('{"cells":' * (90_000 // 9))


def test_long_text_is_refused_and_not_repeated():
  assert "200001 characters are too many" in refusal("{" + "[" * 200_000)
  assert "is not a genotype" in refusal("x" * 50_000)
  assert "concat [[['xxx" in refusal(cell_text([[["skip_connect", 0]]], [[["x" * 60] * 5] * 5] * 5))
  assert "given 9999 times" in refusal('{"cells": {' + ", ".join(['"n": 1'] * 9_999) + "}}")


# Every mistake is one line that names the place and the mend.


@pytest.mark.parametrize(
  "text",
  ["", "   ", "genotype", "[1, 2]", "3", "null", '"Genotype()"', "Genotype", "genotype(normal=[])", "\x00", "\udcff", "\ufeff{}"],
)
def test_other_text_is_no_genotype(text: str):
  assert "is not a genotype; give JSON" in refusal(text)


@pytest.mark.parametrize(
  "text",
  ["Genotype(", "Genotype())", "Genotype([1])", "Genotype(normal)", "Genotype(**{})", "Genotype(normal=[]).x", "Genotype(a=[])(b=[])"]
  + ["Genotype(normal=\udcff)", "Genotype(normal='\x00')", "Genotype(normal=[('a' 1)])", "Genotype(normal=1or 2)", "Genotype(normal=x)"]
  + ["Genotype(normal=range())", "Genotype(normal=range(1.5))", "Genotype(normal=range(0, 1, 0))", "Genotype(normal=range('a'))"]
  + ["Genotype(normal=range(1, 2, 3, 4))", "Genotype(normal=range(2, stop=6))", "Genotype(normal=range)", "Genotype(normal={[]})"]
  + ["Genotype(normal=[range(2)])", "Genotype(normal=Range(2))", "Genotype(normal=[])\nGenotype(normal=[])"],
)
def test_published_text_that_does_not_parse(text: str):
  assert "does not parse as 'Genotype(name=" in refusal(text)


def test_json_that_does_not_parse_says_where():
  assert "not valid JSON at line 2, column 13: Expecting ',' delimiter; correct it there." in refusal('{"a": 1,\n "cells": 1 []}')
  assert "not valid JSON" in refusal('{"cells": {}')
  assert "not valid JSON" in refusal('{"cells": {"a": "\x01"}}')
  assert "nested too deeply" in refusal('{"cells": ' + "[" * 60_000)


@pytest.mark.parametrize("value", [None, 3, 1.5, True, "x", [], [[]], {}])
def test_json_with_wrong_types(value: object):
  assert "field 'cells' is missing or empty" in refusal(json.dumps({"cells": value}))
  assert "cell 'normal': field 'nodes' is missing" in refusal(json_text(normal=value))
  assert "is not a list of state numbers; write it as [2, 3, 4, 5]" in refusal(cell_text([[["skip_connect", 0]]], value))
  if not isinstance(value, str):
    assert "field 'space' is" in refusal(json_text(space=value))
  if not isinstance(value, list):
    assert "cell 'normal': field 'nodes' is missing" in refusal(cell_text(value))
    assert re.search(r"cell 'normal', node 0: .* is not a list of \(operation, source\) pairs", refusal(cell_text([value])))
  assert "is not a pair (operation name, source number)" in refusal(cell_text([[["skip_connect", 0], value]]))
  if not isinstance(value, str):
    assert "is not a pair (operation name, source number)" in refusal(cell_text([[[value, 0]]]))
  if type(value) is not int:
    assert "is not a pair (operation name, source number)" in refusal(cell_text([[["skip_connect", value]]]))
    assert "is not a list of state numbers" in refusal(cell_text([[["skip_connect", 0]]], [2, value]))


def test_json_without_fields():
  assert "field 'cells' is missing" in refusal("{}")
  assert "concat None is not a list" in refusal(json_text(normal={"nodes": [[["skip_connect", 0]]]}))
  assert "field 'nodes' is missing" in refusal(json_text(normal={"concat": [2]}))


def test_numbers_that_are_too_long_to_print():
  for digits in (21, 5000):
    assert "is not the number of a state" in refusal(json_text().replace('"sep_conv_3x3", 1', '"sep_conv_3x3", ' + "9" * digits))
    assert "is not the number of a state" in refusal(json_text().replace('"sep_conv_3x3", 1', '"sep_conv_3x3", -' + "9" * digits))
    assert "does not parse" in refusal(PUBLISHED.replace("'sep_conv_3x3', 1", "'sep_conv_3x3', " + "9" * digits))
  assert f"from node {10**19}, which does not exist" in refusal(json_text().replace('"sep_conv_3x3", 1', f'"sep_conv_3x3", {10**19}'))


@pytest.mark.parametrize("form", ["json", "published"])
class TestGraph:
  """Graphs that are no cell, in both forms."""

  def text(self, form: str, edges: list[tuple[str, int]], concat: list[int] | None = None) -> str:
    cell = genotype.from_lists("conv", [2], {"normal": (edges, concat or [2])})["normal"]
    architecture = Genotype("conv", (("normal", cell), CONV.cells[1]))
    return str(architecture) if form == "published" else architecture.to_json()

  def test_cycle(self, form: str):
    for source in (2, 3):
      message = refusal(self.text(form, [("skip_connect", source), ("skip_connect", 0)] + [("skip_connect", 1)] * 2))
      assert f"cell 'normal': node 2 has an edge from node {source}, which makes a cycle; sources are 0 to 1." in message

  @pytest.mark.parametrize("source", [-1, 4, 10**9])
  def test_source_that_does_not_exist(self, form: str, source: int):
    message = refusal(self.text(form, [("skip_connect", 0)] * 2 + [("skip_connect", source), ("skip_connect", 0)]))
    assert f"cell 'normal': node 3 has an edge from node {source}, which does not exist; sources are 0 to 2." in message

  def test_unknown_operation(self, form: str):
    message = refusal(self.text(form, [("skip_connect", 0), ("sep_conv_3x4", 0)]))
    assert "cell 'normal', node 2: unknown operation 'sep_conv_3x4'. Did you mean 'sep_conv_3x3'?" in message
    assert "Did you mean" not in refusal(self.text(form, [("skip_connect", 0), ("q", 0)]))
    for name in ("skip\nconnect", "\x1b[31m", "\udcff", "q" * 50_000):
      assert "unknown operation" in refusal(self.text(form, [("skip_connect", 0), (name, 0)]))

  @pytest.mark.parametrize("state", [0, 1, 3, -1, 99])
  def test_concat_of_states_that_are_no_nodes(self, form: str, state: int):
    message = refusal(self.text(form, [("skip_connect", 0)] * 2, [2, state]))
    assert f"cell 'normal': concat names node {state}; the nodes are 2 to 2." in message

  def test_no_nodes(self, form: str):
    assert "cell 'normal': it has no nodes" in refusal(self.text(form, []))


def test_node_without_input():
  assert "cell 'normal': node 3 has no input; give it at least one edge." in refusal(cell_text([[["skip_connect", 0]], []]))


def test_edges_that_do_not_divide_into_nodes():
  assert "cell 'normal': 3 edges do not divide into nodes of 2" in refusal(PUBLISHED.replace("('skip_connect', 0), ", "", 1))


def test_missing_unknown_and_duplicate_cells():
  missing = json.loads(CONV.to_json())
  del missing["cells"]["reduce"]
  for text in (json.dumps(missing), f"Genotype({NORMAL}[2, 3])", f"Genotype({NORMAL.replace('normal_', '')}[2, 3])"):
    assert "cell 'reduce' of space 'conv' is given 0 times; give it once." in refusal(text)
  for text in (json_text().replace("reduce", "redoce"), PUBLISHED.replace("reduce", "redoce")):
    assert "unknown cell 'redoce'. Did you mean 'reduce'?" in refusal(text)
  for name in ("a\\nb", "\\u001b", "q" * 9_999):
    assert "cell" in refusal(json_text().replace("reduce", name))
    assert "nodes" in refusal(f'{{"cells": {{"{name}": 3}}}}')
  double = CONV.to_json().replace('"reduce"', '"normal"')
  assert "'normal' is given 2 times; give it once." in refusal(double)
  assert "'normal' is given 2 times; give it once." in refusal(f"Genotype({NORMAL}[2], {NORMAL}[3])")
  with pytest.raises(InputError, match="cell 'normal' of space 'conv' is given 2 times; give it once"):
    SPACE.validate(Genotype("conv", CONV.cells[:1] * 2 + CONV.cells[1:]))


def test_fields_that_belong_together():
  without = PUBLISHED.replace(", normal_concat=range(2, 4)", "")
  assert "'normal_concat' is missing; write it as normal_concat=[2, 3, 4, 5]." in refusal(without)
  assert "'reduced_concat' belongs to no cell; the cells are normal, reduce" in refusal(PUBLISHED.replace("reduce_c", "reduced_c"))
  assert "'concat' belongs to no cell" in refusal(PUBLISHED[:-1] + ", concat=[2])")
  assert "names no cell" in refusal("Genotype()") and "names no cell" in refusal("Genotype(concat=[1])")


@pytest.mark.parametrize("value", ["None", "3", "'ab'", "b'ab'", "{1, 2}", "{'a': 1}", "1+2j", "...", "-1", "True"])
def test_published_text_with_wrong_types(value: str):
  assert "is not a list of (operation, source) pairs" in refusal(f"Genotype(normal={value}, normal_concat=[2])")
  assert "is not a list of state numbers" in refusal(f"Genotype({NORMAL}{value})")
  assert "is not a pair" in refusal(f"Genotype(normal=[{value}, {value}], normal_concat=[2])")
  assert "is not a list of state numbers" in refusal(f"Genotype({NORMAL}[{value if value not in ('3', '-1') else 1.5}])")
  assert "is not a list of state numbers" in refusal(f"Genotype({NORMAL}range(0))")


def test_the_parser_warns_of_nothing():
  assert "unknown operation 'sep" in refusal(PUBLISHED.replace("sep_conv_3x3", r"sep\_conv_3x3"))


def test_a_space_may_allow_more_operations():
  text = PUBLISHED.replace("sep_conv_3x3", "dil_conv_3x3")
  assert "unknown operation 'dil_conv_3x3'" in refusal(text)
  parsed = SPACE.parse(text)
  assert SPACE.validate(parsed, operations=(*SPACE.operations, "dil_conv_3x3")) is parsed


# Garbage.


def _mutated(text: str, rng: random.Random) -> str:
  """Changes a valid text in a few places: drops, doubles, swaps and overwrites pieces of it."""
  pieces = [*"[](){},:-012 \"'\n\\\x00\udcff", "9" * 30, "None", "null", "true", "range(", "skip_connect"]
  for _ in range(rng.randint(1, 2)):
    start = rng.randrange(len(text) + 1)
    stop = min(len(text), start + rng.choice([0, 1, 1, 3, 20]))
    text = text[:start] + rng.choice([*pieces, text[start:stop] * 2, "", rng.choice(string.printable)]) + text[stop:]
  return text


def _random_json(rng: random.Random, depth: int = 0) -> object:
  kind = rng.randrange(8 if depth < 4 else 5)
  if kind < 5:
    return [None, rng.randint(-2, 9), rng.random(), rng.choice(["normal", "skip_connect", ""]), rng.random() < 0.5][kind]
  if kind == 5:
    return {rng.choice(["space", "cells", "normal", "reduce", "nodes", "concat"]): _random_json(rng, depth + 1) for _ in range(3)}
  return [_random_json(rng, depth + 1) for _ in range(rng.randrange(4))]


def _random_cells(rng: random.Random) -> str:
  cells = {name: {"nodes": _random_json(rng), "concat": _random_json(rng)} for name in ("normal", "reduce")}
  cell = rng.choice(["normal", "reduce"])
  cells[cell] = rng.choice([{"nodes": [[[_random_json(rng, 3), _random_json(rng, 3)]]], "concat": [2]}, cells[cell], _random_json(rng)])
  return json.dumps({"space": "conv", "cells": cells})


def test_only_input_errors_escape_from_garbage():
  rng = random.Random(0)
  accepted = 0
  for _ in range(1000):
    texts = [_mutated(rng.choice([PUBLISHED, str(CONV), CONV.to_json()]), rng), _random_cells(rng)]
    texts += ["Genotype(" + "".join(rng.choices(string.printable, k=rng.randrange(40))), json.dumps(_random_json(rng))]
    for text in texts:
      try:
        found = read(text)
      except InputError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 400
      else:
        accepted += 1
        assert read(found.to_json()) == found
  assert accepted > 10  # the mutations are not all so wild that they reach the first check only
