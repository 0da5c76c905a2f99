"""Spaces, genotypes and their texts, with any input. `fuzz_units` says what holds, and how to run this for longer by hand."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from fuzz_units import ANYTHING, JSON, REFUSED, TEXT, WHOLE, changed, edited, fuzzed, outcome
from hypothesis import strategies as st

from dnas.cells import nasbench201
from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, SPACES, STACKS
from dnas.core import genotype as genotypes
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.registry import Registry
from dnas.core.space import NONE, SKIPS, CellSpace
from dnas.supernet.discretize import discretize, edges_of, one_hot, skips_of

PUBLISHED = [registry[name] for registry in (IMAGE_GENOTYPES, LANGUAGE_GENOTYPES) for name in registry]
SEEDS = st.integers(0, 2**32 - 1)

NAMES = st.sampled_from(("a", "skip_connect", "none", "identity", "ö", "Ω_3", "sep_conv_3x3")) | TEXT
ANY_SPACE = {
  "name": st.sampled_from(("space", "größe", "a.b", "..")) | TEXT | ANYTHING,
  "cells": st.lists(st.sampled_from(("normal", "ﬁ", "été", "class", "concat")) | TEXT, max_size=3).map(tuple) | ANYTHING,
  "operations": st.lists(NAMES, max_size=4).map(tuple) | ANYTHING,
}
ANY_SIZES = {
  "num_inputs": st.integers(1, 3) | WHOLE | ANYTHING,
  "num_nodes": st.integers(1, 4) | WHOLE | ANYTHING,
  "edges_per_node": st.integers(1, 3) | WHOLE | ANYTHING,
  "none_allowed": st.booleans() | ANYTHING,
  "num_outputs": st.none() | st.integers(1, 3) | ANYTHING,
  "pool_norm": st.booleans() | ANYTHING,
  "inputs_in_concat": st.booleans() | ANYTHING,
}


def check_architecture(space: CellSpace, found: Genotype) -> None:
  """An architecture of a space is a network of it, and comes back from its numbers and in every form."""
  assert space.validate(found) is found
  values = space.encode(found)
  assert space.decode(values) == Genotype(found.space, tuple((name, _sorted(cell)) for name, cell in found.cells))
  for form in (found.to_json(), json.loads(found.to_json()), str(found)):
    assert space.parse(form) == found
  assert space.encode(space.parse(space.notation(found))) == values


def _sorted(cell: CellGenotype) -> CellGenotype:
  return CellGenotype(tuple(tuple(sorted(node, key=lambda edge: edge.source)) for node in cell.nodes), cell.concat)


@fuzzed(150, values=st.fixed_dictionaries(ANY_SPACE, optional=ANY_SIZES), seed=SEEDS)
def test_a_space_is_one_whose_architectures_come_back_or_is_refused(values: dict[str, Any], seed: int):
  space = outcome(CellSpace, **values)
  if space is REFUSED or space.num_nodes * len(space.cells) > 20 or max(map(len, space.wirings)) > 1000:
    return
  assert space.name not in (".", "..") and space.name.isprintable() and all(name.isprintable() for name in space.operations)
  check_architecture(space, space.sample(np.random.default_rng(seed)))
  check_architecture(space, space.decode([size - 1 for size in space.decisions]))
  text = ", ".join(space.operations[1:])
  assert outcome(space.without, [name.strip() for name in text.split(",") if name.strip()]) is REFUSED or space.operations[0] != NONE


@st.composite
def spaces(draw: st.DrawFn) -> CellSpace:
  names = st.sampled_from(("none", "skip_connect", "identity", "a", "3x3", "ö.+-"))
  allowed = draw(st.booleans())
  operations = draw(st.lists(names, min_size=1, max_size=4, unique=True).filter(lambda found: allowed or set(found) != {NONE}))
  num_nodes = draw(st.integers(1, 4))
  return CellSpace(
    name="drawn",
    cells=tuple(draw(st.lists(st.sampled_from(("normal", "reduce", "recurrent", "été")), min_size=1, max_size=2, unique=True))),
    operations=tuple(operations),
    num_inputs=draw(st.integers(1, 3)),
    num_nodes=num_nodes,
    edges_per_node=draw(st.integers(1, 4)),
    none_allowed=allowed,
    num_outputs=draw(st.none() | st.integers(1, num_nodes)),
  )


ANY_REGISTERED = st.sampled_from([SPACES[name] for name in SPACES])


@fuzzed(60, space=spaces() | ANY_REGISTERED, seed=SEEDS)
def test_what_is_drawn_changed_or_near_is_an_architecture(space: CellSpace, seed: int):
  rng = np.random.default_rng(seed)
  found = space.sample(rng)
  check_architecture(space, found)
  near = space.neighbours(found)
  assert found not in near and len({space.encode(other) for other in near}) == len(near)
  for place in rng.permutation(len(near))[:3]:
    check_architecture(space, near[place])
  other = outcome(space.mutate, found, rng)
  assert (other is REFUSED) == (not near) and (other is REFUSED or other in near)


@fuzzed(80, space=spaces() | ANY_REGISTERED, values=ANYTHING | st.lists(st.integers(-1, 4) | ANYTHING, max_size=9), seed=SEEDS)
def test_numbers_are_an_architecture_or_refused(space: CellSpace, values: Any, seed: int):
  found = outcome(space.decode, values)
  if found is not REFUSED:
    check_architecture(space, found)
  right = list(space.encode(space.sample(np.random.default_rng(seed))))
  for wrong in (right[:-1], [*right, 0], [*right[:-1], space.decisions[-1]], [*right[:-1], -1], [*right[:-1], 0.5], [*right[:-1], "0"]):
    assert outcome(space.decode, wrong) is REFUSED


@fuzzed(80, space=spaces() | ANY_REGISTERED, seed=SEEDS, ties=st.booleans(), cap=st.none() | st.integers(0, 8))
def test_the_strongest_edges_are_an_architecture(space: CellSpace, seed: int, ties: bool, cap: int | None):
  rng = np.random.default_rng(seed)
  mixture = {cell: rng.integers(3, size=space.arch_shape()) / 2 if ties else rng.random(space.arch_shape()) for cell in space.cells}
  found = outcome(discretize, space, mixture, cap)
  only_skips = set(space.choices) <= set(SKIPS)
  assert only_skips or found is not REFUSED
  if found is not REFUSED:
    check_architecture(space, found)
    assert cap is None or all(skips_of(cell) <= cap for _, cell in found.cells)
    chosen = one_hot(space, found)
    again = discretize(space, chosen)
    kept = {name: [set(node) for node in cell.nodes] for name, cell in found.cells}
    full = all(len(sets) == 1 for sets in space.wirings) or (NONE in space.operations and not space.none_allowed)
    assert not full or kept == {name: [set(node) for node in cell.nodes] for name, cell in again.cells}
    counts = edges_of(space, chosen)
    real = {name: sum(edge.operation != NONE for node in cell.nodes for edge in node) for name, cell in found.cells}
    assert {name: int(count.sum()) for name, count in counts.items()} == real
  for nothing in (np.nan, np.inf):
    broken = mixture | {space.cells[0]: np.full(space.arch_shape(), nothing)}
    assert outcome(discretize, space, broken, cap) is REFUSED


# Texts.


def texts_of(space: CellSpace) -> st.SearchStrategy[str]:
  own = SEEDS.map(lambda seed: space.sample(np.random.default_rng(seed)))
  forms = (Genotype.to_json, str, space.notation, lambda found: json.dumps({"genotype": json.loads(found.to_json())}))
  return st.one_of([(own | st.sampled_from(PUBLISHED)).map(form) for form in forms])


def check_read(space: CellSpace, found: Any) -> None:
  """What was read is a network, or is refused; a network comes back."""
  if found is REFUSED or outcome(space.validate, found) is REFUSED:
    return
  assert space.parse(found.to_json()) == found and space.parse(str(found)) == dataclasses.replace(found, space=space.name)
  values = outcome(space.encode, found)
  if values is not REFUSED:
    check_architecture(space, found)
  again = space.parse(space.notation(found))
  assert {name: cell.concat for name, cell in again.cells} == {name: cell.concat for name, cell in found.cells}


@pytest.mark.parametrize("name", list(SPACES))
@fuzzed(100, data=st.data())
def test_a_text_is_a_genotype_or_refused(name: str, data: st.DataObject):
  space = SPACES[name]
  text = data.draw(edited(texts_of(space)) | TEXT)
  check_read(space, outcome(space.parse, text))


WORDS = st.sampled_from(("skip_connect", "none", "tanh", "relu", "nor_conv_3x3", "x")).map(repr)
NUMBERS = st.sampled_from(("0", "1", "2", "-1", "1.5", "1e400", "9" * 21, "9" * 5000, "True", "2j", "None", "range(2, 6)", "range(10**9)"))
PAIRS = st.builds("({}, {})".format, WORDS | NUMBERS, NUMBERS | WORDS)
LITERALS = st.recursive(PAIRS | NUMBERS | WORDS, lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"))
KEYWORDS = st.sampled_from(("normal", "reduce", "cell", "recurrent", "concat", "normal_concat", "ﬁ", "**", "*", "lambda")) | TEXT
CALLS = st.lists(st.tuples(KEYWORDS, LITERALS | TEXT), max_size=4).map(
  lambda fields: f"Genotype({', '.join(f'{name}={value}' for name, value in fields)})"
)


DEEP = st.sampled_from(("Genotype(" + "(" * 5000, "Genotype(a=" + "-" * 50000 + "1)", "[" * 90000, "{" + '"a":[' * 40000))


@fuzzed(150, text=CALLS | DEEP)
def test_a_call_is_a_genotype_or_refused(text: str):
  for name in SPACES:
    check_read(SPACES[name], outcome(SPACES[name].parse, text))


@fuzzed(150, data=st.data())
def test_an_object_is_a_genotype_or_refused(data: st.DataObject):
  space = data.draw(ANY_REGISTERED)
  objects = texts_of(space).filter(lambda text: text.startswith("{")).map(json.loads)
  value = data.draw(changed(objects) | JSON | ANYTHING)
  check_read(space, outcome(space.parse, value))
  assert outcome(genotypes.parse, value) is not None


LISTS = st.dictionaries(KEYWORDS, st.tuples(ANYTHING, ANYTHING) | ANYTHING, max_size=2)


@fuzzed(100, space=spaces() | ANY_REGISTERED, cells=LISTS | ANYTHING)
def test_lists_are_a_genotype_or_refused(space: CellSpace, cells: Any):
  outcome(space.from_lists, cells)


ANY_EDGE = st.tuples(st.sampled_from(("skip_connect", "none", "a")) | ANYTHING, st.integers(-1, 4) | ANYTHING)
PARTS = st.fixed_dictionaries(
  {
    "edges": st.lists(st.lists(ANY_EDGE, max_size=3)),
    "nodes": st.none() | ANYTHING,
    "concat": st.lists(st.integers(0, 5), max_size=3).map(tuple) | ANYTHING,
    "names": st.lists(st.sampled_from(("normal", "reduce", "cell", "recurrent")) | TEXT, max_size=3) | ANYTHING,
    "space": st.sampled_from(("drawn", "nasbench201")) | ANYTHING,
  }
)


def made(parts: dict[str, Any]) -> Genotype:
  """Makes a genotype of any parts, in the way of a person who writes one in Python."""
  nodes = tuple(tuple(Edge(*edge) for edge in node) for node in parts["edges"]) if parts["nodes"] is None else parts["nodes"]
  cell = CellGenotype(nodes, parts["concat"])
  return Genotype(parts["space"], tuple((name, cell) for name in parts["names"]) if isinstance(parts["names"], list) else parts["names"])


@fuzzed(150, space=spaces() | ANY_REGISTERED, parts=PARTS)
def test_any_genotype_is_a_network_or_refused(space: CellSpace, parts: dict[str, Any]):
  found = outcome(made, parts)
  if found is not REFUSED:
    check_read(space, found)
    outcome(space.encode, found)


@fuzzed(200, text=edited(SEEDS.map(lambda seed: nasbench201.to_string(nasbench201.SPACE.sample(np.random.default_rng(seed))))) | ANYTHING)
def test_a_string_of_the_benchmark_is_read_or_refused(text: Any):
  found = outcome(nasbench201.from_string, text)
  if found is not REFUSED:
    assert nasbench201.from_string(nasbench201.to_string(found)) == found
    assert nasbench201.canonical(found) == nasbench201.canonical(nasbench201.SPACE.decode(nasbench201.SPACE.encode(found)))


# Registries.


@pytest.mark.parametrize("registry", [SPACES, STACKS, IMAGE_GENOTYPES, LANGUAGE_GENOTYPES], ids=lambda registry: registry.kind)
@fuzzed(30, name=ANYTHING)
def test_a_name_is_registered_or_refused(registry: Registry[Any], name: Any):
  found = outcome(lambda: registry[name])
  assert (found is not REFUSED) == (name in list(registry)) == (name in registry) if isinstance(name, str) else found is REFUSED


@fuzzed(60, name=TEXT | ANYTHING)
def test_a_unit_gets_a_name_that_a_flag_and_a_folder_can_have_or_is_refused(name: Any):
  registry = Registry("unit")
  if outcome(lambda: registry.register(name)(1)) is not REFUSED:
    assert name.isprintable() and name not in (".", "..") and not set("/, \\") & set(name) and registry[name] == 1
    assert registry[name] == 1
    with pytest.raises(ValueError, match="is registered twice"):
      registry.register(name)(2)
