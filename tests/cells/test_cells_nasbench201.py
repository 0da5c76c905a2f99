"""The space of NAS-Bench-201: its size, the standard strings, and which cells are the same network."""

import collections
import itertools

import numpy as np
import pytest

from dnas.cells.nasbench201 import SPACE, canonical, from_string, to_string
from dnas.cells.registries import SPACES
from dnas.core.errors import InputError
from dnas.core.genotype import Genotype, parse
from dnas.evaluate.tabular import all_genotypes

PAPER = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
ALL = all_genotypes()


def test_golden_counts():
  assert len(ALL) == len(set(ALL)) == 15_625 == np.prod(SPACE.decisions)
  assert SPACE.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)) and SPACE.arch_shape() == (6, 5) and SPACE.concat == (3,)
  assert SPACES[SPACE.name] is SPACE


def test_strings_and_genotypes_are_inverse():
  strings = [to_string(genotype) for genotype in ALL]
  assert len(set(strings)) == 15_625
  assert [from_string(text) for text in strings] == list(ALL)
  assert to_string(from_string(PAPER)) == PAPER
  assert strings[0] == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
  assert strings[1] == "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"


def test_other_forms_hold_the_same():
  genotype = from_string(PAPER)
  assert SPACE.validate(genotype) is genotype and parse(genotype.to_json()) == genotype
  nodes = tuple(tuple(reversed(node)) for node in genotype["cell"].nodes)  # another order of the edges of a node
  assert to_string(Genotype(SPACE.name, (("cell", type(genotype["cell"])(nodes, (3,))),))) == PAPER


def test_every_architecture_has_24_neighbours_one_edge_away():
  rng = np.random.default_rng(0)
  for genotype in (ALL[0], ALL[-1], *(SPACE.sample(rng) for _ in range(20))):
    neighbours = SPACE.neighbours(genotype)
    assert len(neighbours) == len(set(neighbours)) == 24
    distances = [sum(a != b for a, b in zip(SPACE.encode(other), SPACE.encode(genotype), strict=True)) for other in neighbours]
    assert distances == [1] * 24 and set(neighbours) <= set(ALL)


@pytest.mark.parametrize(
  "text, part",
  [
    ("", "1 node "),
    ("|none~0|+|none~0|none~1|", "2 nodes"),
    (PAPER + "+", "4 nodes"),
    (PAPER.replace("|+|", "+"), "node 1"),
    (PAPER.replace("skip_connect~0", "skip_connect"), "node 3"),
    (PAPER.replace("skip_connect~0", "skip_conect~0"), "Did you mean 'skip_connect'?"),
    (PAPER.replace("skip_connect~0", "skip_connect~1"), "reads [1, 1, 2]"),
    (PAPER.replace("avg_pool_3x3~1", "avg_pool_3x3~7"), "reads [0, 7]"),
    (PAPER.replace("|avg_pool_3x3~1", ""), "reads [0]"),
    (PAPER.replace("~2|", "~" + "9" * 5000 + "|"), "node 3"),
  ],
)
def test_what_does_not_parse_is_refused_in_one_sentence(text: str, part: str):
  with pytest.raises(InputError) as error:
    from_string(text, "line 3")
  message = str(error.value)
  assert message.startswith("line 3") and part in message and "\n" not in message and len(message) < 400


def _cell(*operations: str) -> str:
  """The canonical form of a cell, its operations given by their first letters in the order of the edges."""
  names = {"n": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "a": "avg_pool_3x3"}
  return canonical(SPACE.decode([SPACE.choices.index(names[letter]) for letter in "".join(operations)]))


def test_cells_that_are_one_network_have_one_form():
  through_first, through_second = _cell("3", "nn", "n1n"), _cell("n", "3n", "nn1")
  assert through_first == through_second == "nor_conv_1x1(nor_conv_3x3(x)); nor_conv_1x1(nor_conv_3x3(x)); nor_conv_3x3(x)"
  assert _cell("s", "sn", "nn3") == _cell("n", "ns", "3nn") == "nor_conv_3x3(x); nor_conv_3x3(x)"
  assert _cell("3", "11", "nnn") == _cell("n", "nn", "n31") == "0"  # no path to the output, and none from the input
  assert _cell("n", "na", "snn") == "x"
  assert _cell("a", "nn", "3sn") == _cell("n", "an", "3ns")  # the order of a sum does not matter
  assert _cell("s", "ss", "nns") == "x+x" != _cell("s", "nn", "nsn")  # but how often a term stands in it does


def test_a_convolution_used_twice_is_not_two():
  shared, two = _cell("3", "ns", "nss"), _cell("3", "3n", "nss")
  assert shared.partition(";")[0] == two.partition(";")[0] == "nor_conv_3x3(x)+nor_conv_3x3(x)" and shared != two
  assert _cell("a", "ns", "nss") == _cell("a", "an", "nss")  # pooling has no weights, so there it makes no difference


def test_golden_count_of_networks():
  forms = collections.Counter(map(canonical, ALL))
  assert len(forms) == 5_260 and forms["0"] == 341


def _published_form(operations: tuple[str, ...], sees_none: bool) -> str:
  """The form by which the paper counts: strings, sums without brackets, and a mark where nothing comes in."""
  values, states = iter(operations), ["x"]
  for target in (1, 2, 3):
    terms = []
    for source in states[:target]:
      operation = next(values)
      if sees_none and (operation == "none" or source == "#"):
        terms.append("#")
      else:
        terms.append(source if operation == "skip_connect" else f"({source})@{operation}")
    states.append("+".join(sorted(terms)))
  return states[-1]


def test_the_published_counts_come_of_the_published_rule():
  cells = list(itertools.product(SPACE.choices, repeat=6))
  assert len({_published_form(cell, sees_none=True) for cell in cells}) == 6_466
  assert len({_published_form(cell, sees_none=False) for cell in cells}) == 12_751


def _smallest_renaming(genotype: Genotype) -> str:
  """The network as convolutions with numbers: the least of its descriptions over all ways of numbering them."""
  operations, states, weights = iter(genotype["cell"].nodes), [("x",)], {}
  for target, node in enumerate(operations, start=1):
    terms = []
    for operation, source in node:
      inputs = states[source]
      if operation == "skip_connect":
        terms += inputs
      elif operation == "avg_pool_3x3" and inputs:
        terms.append(("pool", inputs))
      elif operation != "none" and inputs:
        weights[target, source] = (operation, inputs)
        terms.append((target, source))
    states.append(tuple(terms))
  alive: list[tuple[int, int]] = []

  def visit(terms: tuple) -> None:
    for term in terms:
      if term[0] == "pool":
        visit(term[1])
      elif term != "x" and term not in alive:
        alive.append(term)
        visit(weights[term][1])

  def named(terms: tuple, names: dict) -> list[str]:
    return sorted("x" if t == "x" else f"pool{named(t[1], names)}" if t[0] == "pool" else names[t] for t in terms)

  visit(states[3])
  descriptions = []
  for order in itertools.permutations(alive):
    names = {term: f"w{number}" for number, term in enumerate(order)}
    descriptions.append(f"{named(states[3], names)} {[(weights[term][0], named(weights[term][1], names)) for term in order]}")
  return min(descriptions)


def test_one_form_exactly_where_a_renaming_of_the_convolutions_makes_them_equal():
  rng = np.random.default_rng(0)
  cells = [SPACE.decode(rng.choice([0, 1, 3, 4], size=6).tolist()) for _ in range(1000)]  # fewer operations meet more often
  forms, renamings = [canonical(cell) for cell in cells], [_smallest_renaming(cell) for cell in cells]
  assert 100 < len(set(forms)) == len(set(renamings)) == len(set(zip(forms, renamings, strict=True))) < 900
