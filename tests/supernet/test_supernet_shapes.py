"""Shapes at the mathematical boundaries: what would be broadcast in silence is refused, compiled or not, and the right shapes pass."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells.registries import SPACES
from dnas.core import tree
from dnas.supernet import relaxations
from dnas.supernet.discretize import discretize
from dnas.train import metrics


class Shapes(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  def test_cross_entropy(self):
    loss = self.variant(metrics.cross_entropy)
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], jnp.float32))
    np.testing.assert_allclose(loss(logits, jnp.array([0, 2])), -np.log([0.5, 0.6]), rtol=1e-6)
    for labels in (jnp.array([0]), jnp.array([[0], [2]])):  # one label for all, and labels with an axis of their own
      with pytest.raises(AssertionError, match="shape"):
        loss(logits, labels)

  @chex.variants(with_jit=True, without_jit=True)
  def test_the_right_answers(self):
    right = self.variant(metrics.correct)
    logits = jnp.array([[0.0, 1.0], [1.0, 0.0]], jnp.float32)
    np.testing.assert_array_equal(right(logits, jnp.array([1, 1])), [1, 0])
    with pytest.raises(AssertionError, match="shape"):
      right(logits, jnp.array([1]))

  @chex.variants(with_jit=True, without_jit=True)
  def test_a_mask_has_the_shape_of_its_mixture(self):
    restrict = self.variant(relaxations.restrict)
    mixture, mask = {"normal": jnp.array([[0.5, 0.25, 0.25]], jnp.float32)}, {"normal": jnp.array([[1.0, 0.0, 1.0]], jnp.float32)}
    np.testing.assert_allclose(restrict(mixture, mask)["normal"], [[2 / 3, 0, 1 / 3]], rtol=1e-6)
    with pytest.raises(AssertionError, match="shape"):
      restrict(mixture, {"normal": mask["normal"][0]})

  @chex.variants(with_jit=True, without_jit=True)
  def test_a_gradient_has_the_shape_of_what_it_is_added_to(self):
    add = self.variant(lambda x, y: tree.add_scaled(x, 2.0, y))
    chex.assert_trees_all_equal(add({"a": jnp.ones(3)}, {"a": jnp.ones(3)}), {"a": jnp.full(3, 3.0)})
    with pytest.raises(AssertionError, match="shape"):
      add({"a": jnp.ones(3)}, {"a": jnp.ones(1)})


def test_a_mixture_has_the_shape_of_its_space():
  space = SPACES["darts_conv"]
  mixture = {cell: np.ones(shape, np.float32) for cell, shape in space.arch_shapes.items()}
  assert discretize(space, mixture).space == "darts_conv"
  with pytest.raises(AssertionError, match="shape"):
    discretize(space, {cell: weights[:, :-1] for cell, weights in mixture.items()})
