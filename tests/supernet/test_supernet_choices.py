"""The cells of DARTS as a user's network of choices: the same supernet as the built-in one."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

import dnas
from dnas.cells.image_stack import Size

_SPEC = importlib.util.spec_from_file_location("choices", pathlib.Path(dnas.__file__).parents[1] / "benchmarks" / "choices.py")
choices = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(choices)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def both():
  return choices.pair(Size(channels=4, cells=3))


@pytest.mark.parametrize("hypergradient", ["first_order", "finite_difference"])
def test_logits_and_hypergradients_are_those_of_the_built_in_supernet(both, hypergradient):
  arch, train, valid = choices.inputs(4, pixels=8)
  results = []
  for loss, variables in (both[:2], both[2:]):
    problem = choices.problem_of(loss, hypergradient)
    results.append(problem.step(choices.state_of(problem, variables, arch), train, valid, jax.random.key(0)))
  (before, of_built_in), (after, of_choices) = results
  np.testing.assert_allclose(of_choices["logits"], of_built_in["logits"], atol=2e-5)
  for cell in arch:
    expected = np.asarray(before.arch[cell] - arch[cell])
    np.testing.assert_allclose(after.arch[cell] - arch[cell], expected, atol=2e-3 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-4
