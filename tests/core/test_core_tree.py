"""Functions of trees against NumPy on the concatenated leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dnas.core import tree

SHAPES = {"a": {"kernel": (2, 3), "bias": (3,)}, "b": [(), (4,)]}


def draw(seed: int):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def flat(x) -> np.ndarray:
  return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(x)])


X, Y = draw(0), draw(1)


def test_sums_and_multiples():
  for scale in (-0.5, jnp.float32(3.0), 0):
    np.testing.assert_allclose(flat(tree.add_scaled(X, scale, Y)), flat(X) + float(scale) * flat(Y), rtol=1e-6)
  assert not flat(tree.zeros_like(X)).any()
  for out in (tree.add_scaled(X, 2, Y), tree.zeros_like(X)):
    assert jax.tree.structure(out) == jax.tree.structure(X)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(out)] == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(X)]


def test_the_scale_takes_the_type_of_the_leaf():
  half = {"a": jnp.ones(3, jnp.bfloat16)}
  assert tree.add_scaled(half, jnp.float32(0.5), half)["a"].dtype == jnp.bfloat16


def test_products():
  np.testing.assert_allclose(tree.dot(X, Y), flat(X) @ flat(Y), rtol=1e-5)
  np.testing.assert_allclose(tree.norm(X), np.linalg.norm(flat(X)), rtol=1e-6)
  cosine = flat(X) @ flat(Y) / np.linalg.norm(flat(X)) / np.linalg.norm(flat(Y))
  np.testing.assert_allclose(tree.cosine(X, Y), cosine, rtol=1e-5)
  np.testing.assert_allclose(tree.cosine(X, tree.add_scaled(X, -3.0, X)), -1, rtol=1e-6)


@pytest.mark.parametrize("jit", [lambda function: function, jax.jit])
def test_a_tree_is_a_vector_and_back(jit):
  np.testing.assert_array_equal(jit(tree.ravel)(X), flat(X).astype(np.float32))
  jax.tree.map(np.testing.assert_array_equal, jit(lambda x, like: tree.unravel(tree.ravel(x), like))(X, Y), X)
  gradient = jit(jax.grad(lambda x: tree.dot(tree.unravel(2 * tree.ravel(x), Y), Y)))(X)
  np.testing.assert_allclose(flat(gradient), 2 * flat(Y), rtol=1e-6)


def test_a_flattened_optimizer_is_that_of_the_leaves():
  inner = optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9), optax.scale(-0.5))
  ours, state, theirs, other = X, tree.flattened(inner).init(X), X, inner.init(X)
  for gradient in (Y, draw(2)):
    updates, state = tree.flattened(inner).update(gradient, state, ours)
    ours = optax.apply_updates(ours, updates)
    updates, other = inner.update(gradient, other, theirs)
    theirs = optax.apply_updates(theirs, updates)
  np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-5)
  assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(14,)]


def test_size_counts_scalars():
  assert tree.size(X) == flat(X).size == 14 and tree.size({}) == 0


def test_trees_that_do_not_match_are_refused():
  with pytest.raises(ValueError):
    tree.dot(X, {"a": X["a"]})
  with pytest.raises(ValueError):
    tree.add_scaled(X, 1.0, X["a"])


def test_everything_traces_and_differentiates():
  gradient = jax.grad(lambda x: tree.dot(x, Y) + tree.norm(x))(X)
  np.testing.assert_allclose(flat(gradient), flat(Y) + flat(X) / np.linalg.norm(flat(X)), rtol=1e-5)
