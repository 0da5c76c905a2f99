"""The space of chains of convolutions: what is drawn, changed and read is a chain, and everything else is refused."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.cells.registries import CHAIN_SPACES, SPACES
from dnas.core.chain_space import ChainSpace, Edit, Layer, layers_of, tied_to, widths_of
from dnas.core.errors import InputError

SPACE = CHAIN_SPACES["conv_chain"]
SMALL = ChainSpace("conv_chain", kernels=(1, 3), widths=(1, 2), num_poolings=1, most_convolutions=6)
TEXT = "|conv_3x3_x1|sep_conv_3x3_x1+1|max_pool_2x2|conv_3x3_x2|conv_1x1_x2+4|avg_pool_2x2|conv_3x3_x1|"
CHAIN = SPACE.validate(SPACE.parse(TEXT))


@settings(max_examples=40, deadline=None)
@given(space=st.sampled_from((SPACE, SMALL)), seed=st.integers(0, 2**32 - 1))
def test_what_is_drawn_changed_and_near_is_a_chain_that_every_form_gives_back(space, seed):
  rng = np.random.default_rng(seed)
  found = space.sample(rng)
  for form in (found.to_json(), str(found), space.notation(found)):
    assert space.parse(form) == found
  assert space.make(layers_of(found)) == found
  near = space.neighbours(found)
  assert found not in near and len(set(near)) == len(near)
  assert space.mutate(found, rng) in {*near, found}
  assert all(space.validate(other) == other for other in near)


def test_a_chain_is_what_its_text_says():
  assert SPACE.notation(CHAIN) == TEXT and widths_of(layers_of(CHAIN)) == [0, 1, 1, 1, 2, 2, 2, 1]
  assert layers_of(CHAIN)[1] == Layer("sep_conv", 3, 1, (1,)) and layers_of(CHAIN)[2] == Layer("max_pool", 2, 0)
  assert [sorted(tied_to(layers_of(CHAIN), state)) for state in (1, 4, 7)] == [[1, 2, 3], [4, 5, 6], [7]]


EDITS = {
  Edit("deeper", 1, ("conv", 5)): TEXT.replace("|sep", "|conv_5x5_x1|sep").replace("+4", "+5"),
  Edit("shallower", 5): "|conv_3x3_x1|sep_conv_3x3_x1+1|max_pool_2x2|conv_3x3_x2|avg_pool_2x2|conv_3x3_x1|",
  Edit("wider", 1, 4): "|conv_3x3_x4|sep_conv_3x3_x4+1|max_pool_2x2|conv_3x3_x2|conv_1x1_x2+4|avg_pool_2x2|conv_3x3_x1|",
  Edit("narrower", 5, 1): "|conv_3x3_x1|sep_conv_3x3_x1+1|max_pool_2x2|conv_3x3_x1|conv_1x1_x1+4|avg_pool_2x2|conv_3x3_x1|",
  Edit("kernel_growth", 7, 5): TEXT.replace("conv_3x3_x1|", "conv_5x5_x1|").replace("|conv_5x5_x1|sep", "|conv_3x3_x1|sep"),
  Edit("kernel_shrinkage", 4, 1): TEXT.replace("conv_3x3_x2", "conv_1x1_x2"),
  Edit("skip", 2, 1): TEXT,
  Edit("skip", 4, 3): None,  # another width
  Edit("skip_removal", 2, 1): TEXT.replace("+1", ""),
  Edit("operation_swap", 2, "conv"): TEXT.replace("sep_", ""),
  Edit("cheaper_operation", 7, "sep_conv"): TEXT.replace("pool_2x2|conv_3x3_x1", "pool_2x2|sep_conv_3x3_x1"),
  Edit("other_pooling", 3, "avg_pool"): TEXT.replace("max", "avg"),
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit.kind} {edit.layer}")
def test_edits(edit):
  if EDITS[edit] is None:
    with pytest.raises(InputError, match="layer 4: it has a skip from state 3; a skip reads a state of this stage, 3 to 3, of the width 2"):
      SPACE.edited(CHAIN, edit)
  else:
    assert SPACE.notation(SPACE.edited(CHAIN, edit)) == EDITS[edit]


def test_skips_of_a_layer_that_leaves_read_its_input():
  chain = SMALL.validate(SMALL.parse("|conv_3x3_x1|conv_3x3_x1|conv_3x3_x1+1+2|max_pool_2x2|conv_3x3_x1|"))
  assert SMALL.notation(SMALL.edited(chain, Edit("shallower", 2))) == "|conv_3x3_x1|conv_3x3_x1+1|max_pool_2x2|conv_3x3_x1|"


def test_a_chain_has_no_more_convolutions_than_the_space_allows():
  full = SMALL.validate(SMALL.parse("|conv_3x3_x1|conv_3x3_x1|conv_3x3_x1|conv_3x3_x1|conv_3x3_x1|max_pool_2x2|conv_3x3_x1|"))
  assert all(edit.kind != "deeper" for edit in SMALL.edits(full))
  with pytest.raises(InputError, match="it has 7 convolutions; give at most 6"):
    SMALL.edited(full, Edit("deeper", 1, ("conv", 3)))


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("|conv_3x3_x3|max_pool_2x2|conv_3x3_x1|", "layer 1: unknown operation 'conv_3x3_x3'"),
    ("|conv_3x5_x1|max_pool_2x2|conv_3x3_x1|", "layer 1: unknown operation 'conv_3x5_x1'"),
    ("|conv_3x3_x1|conv_3x3_x1|", "it has 0 poolings; give 1, with a convolution before and after each"),
    ("|conv_3x3_x1|max_pool_2x2|", "it has 1 poolings; give 1, with a convolution before and after"),
    ("|max_pool_2x2|conv_3x3_x1|", "layer 1: no convolution stands before this pooling"),
    ("|conv_3x3_x1|max_pool_2x2+1|conv_3x3_x1|", "layer 2: its further edges are"),
    ("|conv_3x3_x1|max_pool_2x2|conv_3x3_x1+1|", "layer 3: it has a skip from state 1; a skip reads a state of this stage, 2 to 2"),
    ("|conv_3x3_x1+0|max_pool_2x2|conv_3x3_x1|", "layer 1: it has a skip from state 0"),
    ("|conv_3x3_x1+x|max_pool_2x2|conv_3x3_x1|", "'conv_3x3_x1+x' is not a layer"),
    ("Genotype(chain=[[('conv_3x3_x1', 1)]], concat=[1])", "layer 1: its first edge is"),
    ("Genotype(chain=[[('conv_3x3_x1', 0)]], concat=[0])", "concat is"),
    ("Genotype(cell=[[('conv_3x3_x1', 0)]], concat=[1])", "is no architecture of space 'conv_chain'"),
  ],
)
def test_what_is_no_chain_is_refused(text, message):
  with pytest.raises(InputError, match=re.escape(message)):
    SMALL.validate(SMALL.parse(text))


BAD_FIELDS = ({"kernels": (2, 3)}, {"kernels": (3, 1)}, {"widths": ()}, {"widths": (0, 1)}, {"num_poolings": -1}, {"most_convolutions": 2})


@pytest.mark.parametrize("change", BAD_FIELDS)
def test_a_space_refuses_fields_that_do_not_fit(change):
  (field,) = change
  with pytest.raises(InputError, match=field):
    dataclasses.replace(SMALL, **change)


def test_the_registry_takes_chains_alone():
  with pytest.raises(InputError, match="register a ChainSpace under its own name"):
    CHAIN_SPACES.register("darts_conv")(dataclasses.replace(SMALL, name="darts_conv"))
  with pytest.raises(InputError, match="register a ChainSpace under its own name"):
    CHAIN_SPACES.register("other")(SPACES["darts_conv"])
