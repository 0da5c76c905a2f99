"""Spaces of named choices: architectures are networks without doubles, in every form, and bad ones are refused in one sentence."""

import itertools
import json

import numpy as np
import pytest

from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace, Point, from_json
from dnas.core.errors import InputError
from dnas.core.records import Proposal

INNER = Point("inner", ("a", "b", "c"), places=((("block", "deep"),), (("other", "left"),)))
SPACE = ChoiceSpace(
  "mine",
  (Point("block", ("conv3", "deep", "skip")), Point("other", ("left", "right")), INNER, Point("merge", ("x", "y", "z"), kept=2)),
)


def everything() -> list[ChoiceGenotype]:
  return [SPACE.decode(values) for values in itertools.product(*map(range, SPACE.decisions))]


def test_a_choice_inside_of_others_is_listed_where_one_of_them_is_kept():
  assert SPACE.decisions == (3, 2, 3, 3)
  assert str(SPACE.decode((0, 1, 2, 0))) == "block=conv3,other=right,merge=x+y"
  assert str(SPACE.decode((0, 0, 2, 2))) == "block=conv3,other=left,inner=c,merge=y+z"
  assert str(SPACE.decode((1, 1, 1, 1))) == "block=deep,other=right,inner=b,merge=x+z"
  # 3 * 2 pairs of block and other, of which all but (conv3, right) and (skip, right) have an inner choice.
  assert len(set(everything())) == (4 * 3 + 2) * 3


def test_every_form_reads_back():
  for genotype in everything():
    assert SPACE.decode(SPACE.encode(genotype)) == genotype
    assert SPACE.parse(str(genotype)) == SPACE.parse(genotype.to_json()) == SPACE.parse(SPACE.notation(genotype)) == genotype
    assert SPACE.parse({"genotype": json.loads(genotype.to_json()), "seconds": 1}) == from_json(genotype.to_json()) == genotype
  assert SPACE.parse("merge=z+x, other=right , block=skip") == SPACE.decode((2, 1, 0, 1))
  assert genotype["merge"] == "y+z" and Proposal(genotype).genotype is genotype
  assert from_json("{}") is None and from_json("no") is None


def test_neighbours_differ_in_one_active_choice():
  genotype = SPACE.parse("block=conv3,other=right,merge=x+y")
  texts = [str(one) for one in SPACE.neighbours(genotype)]
  assert texts == [
    "block=deep,other=right,inner=a,merge=x+y",
    "block=skip,other=right,merge=x+y",
    "block=conv3,other=left,inner=a,merge=x+y",
    "block=conv3,other=right,merge=x+z",
    "block=conv3,other=right,merge=y+z",
  ]
  for one in everything():
    assert one not in SPACE.neighbours(one)


def test_mutations_reach_all_and_samples_are_uniform_over_each_choice():
  rng = np.random.default_rng(0)
  start = SPACE.parse("block=conv3,other=right,merge=x+y")
  reached = {SPACE.mutate(start, rng) for _ in range(300)}
  assert {str(one) for one in reached} == {str(one) for one in SPACE.neighbours(start)} | {
    text.replace("inner=a", f"inner={option}") for text in map(str, SPACE.neighbours(start)) for option in "bc"
  }
  samples = [SPACE.sample(rng) for _ in range(1200)]
  assert set(samples) == set(everything()) and all(SPACE.validate(one) == one for one in samples)
  counts = [sum(one["block"] == option for one in samples) for option in ("conv3", "deep", "skip")]
  assert sum((count - 400) ** 2 / 400 for count in counts) < 13.8  # 0.1 % of a chi-square with 2 degrees of freedom
  assert SPACE.sample(np.random.default_rng(3)) == SPACE.sample(np.random.default_rng(3))


BAD = {
  "": "is not CHOICE=OPTION; write an architecture as 'block=conv3,other=left",
  "block=conv4,other=right,merge=x+y": "choice 'block': unknown option 'conv4'. Did you mean 'conv3'?",
  "blok=conv3,other=right,merge=x+y": "unknown choice 'blok'. Did you mean 'block'?",
  "block=conv3,block=skip": "choice 'block' is given twice; give it once.",
  "block=conv3,other=right": "choice 'merge' is missing; give one of x, y, z.",
  "block=conv3,other=right,merge=x": "choice 'merge' keeps 2 of its options, and ['x'] was given.",
  "block=conv3,other=right,merge=x+x": "choice 'merge' keeps 2 of its options, and ['x', 'x'] was given.",
  "block=conv3,other=right,inner=a,merge=x+y": "choice 'inner' has no effect in",
  "block=deep,other=right,merge=x+y": "choice 'inner' is missing",
  "{": "not valid JSON",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_architecture_is_refused(text):
  with pytest.raises(InputError) as e:
    SPACE.parse(text, where="found.json")
  assert BAD[text] in str(e.value) and str(e.value).startswith("found.json") and "\n" not in str(e.value)


def test_an_architecture_of_another_space_is_refused():
  other = ChoiceSpace("other", (Point("block", ("conv3", "deep")),)).decode((0,))
  for call in (SPACE.encode, SPACE.validate, SPACE.neighbours, SPACE.parse, lambda one: SPACE.mutate(one, np.random.default_rng(0))):
    with pytest.raises(InputError, match="is not an architecture of space 'mine'"):
      call(other)
  for decisions in ((0,), (0, 0, 0, 9), "abcd", (0, 0, 0, -1)):
    with pytest.raises(InputError, match="are not an architecture of space 'mine'"):
      SPACE.decode(decisions)


BAD_SPACES = {
  "space 'empty' has no choices": lambda: ChoiceSpace("empty", ()),
  "choice 'c' has one option, 'a', so there is nothing to choose": lambda: ChoiceSpace("s", (Point("c", ("a",)),)),
  "choice 'c' has two options of the name 'a'": lambda: ChoiceSpace("s", (Point("c", ("a", "b", "a")),)),
  "choice 'c' is given twice": lambda: ChoiceSpace("s", (Point("c", ("a", "b")), Point("c", ("a", "b")))),
  "choice 'c' keeps 2 of 2 options": lambda: ChoiceSpace("s", (Point("c", ("a", "b"), kept=2),)),
  "choice 'c' stands in 'd=a', which does not come before it": lambda: ChoiceSpace("s", (Point("c", ("a", "b"), places=((("d", "a"),),)),)),
  "choice 'c d' has no usable name": lambda: ChoiceSpace("s", (Point("c d", ("a", "b")),)),
  "an option of choice 'c', 'a+b' has no usable name": lambda: ChoiceSpace("s", (Point("c", ("a+b", "b")),)),
}


@pytest.mark.parametrize("message", BAD_SPACES)
def test_a_space_that_is_none_is_refused(message):
  with pytest.raises(InputError) as e:
    BAD_SPACES[message]()
  assert message in str(e.value)
