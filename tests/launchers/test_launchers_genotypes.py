"""--genotype reads what launchers print and write, for every space."""

import json

import numpy as np
import pytest

from dnas.cells.registries import SPACES
from dnas.core.errors import InputError
from dnas.launchers.train import load_genotype

STRING = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"


@pytest.mark.parametrize("name", list(SPACES))
def test_what_is_printed_or_written_can_be_given_again(name, tmp_path):
  space, rng = SPACES[name], np.random.default_rng(0)
  for _ in range(20):
    found = space.sample(rng)
    inner = json.loads(found.to_json())
    result = json.dumps({"genotype": inner, "notation": space.notation(found), "seconds": 1.0}, indent=2)
    forms = [found.to_json(), str(found), space.notation(found), result, json.dumps({"genotype": found.to_json()})]
    for text in forms:
      (tmp_path / "found.txt").write_text(text + "\n")
      assert load_genotype(str(tmp_path / "found.txt"), name) == found == load_genotype(text, name)
    (tmp_path / "genotype.json").write_text(found.to_json())
    assert load_genotype(str(tmp_path), name) == found


def test_mistakes_in_what_is_given_name_the_flag():
  with pytest.raises(InputError, match=r"^--genotype, cell 'normal', node 2: unknown operation 'skip'\. Did you mean 'skip_connect'\?"):
    load_genotype("Genotype(normal=[('skip', 0), ('skip', 1)], normal_concat=[2], reduce=[('skip', 0), ('skip', 1)], reduce_concat=[2])")
  with pytest.raises(InputError, match=r"^--genotype: '\|nor_conv_3x3~0\|.*' is not a genotype"):
    load_genotype(STRING)
  with pytest.raises(InputError, match=r"^--genotype holds a cell of the space 'nasbench201', and 'darts_recurrent' was asked for"):
    load_genotype(load_genotype(STRING, "nasbench201").to_json(), "darts_recurrent")
