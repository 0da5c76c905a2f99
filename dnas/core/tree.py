"""Linear algebra on trees of arrays.

Every function is compiled as one program, so that a step that the host puts together dispatches one call and not one per leaf; within
a larger jit they are traced in place.
"""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


@jax.jit
def add_scaled(x: Tree, scale: jax.Array | float, y: Tree) -> Tree:
  """Returns x + scale * y."""
  return jax.tree.map(lambda a, b: a + jnp.asarray(scale, a.dtype) * b, x, y)


@jax.jit
def dot(x: Tree, y: Tree) -> jax.Array:
  """Returns the inner product, a scalar."""
  return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


@jax.jit
def norm(x: Tree) -> jax.Array:
  """Returns the Euclidean norm over all leaves, a scalar."""
  return jnp.sqrt(sum(jnp.vdot(a, a).real for a in jax.tree.leaves(x)))


@jax.jit
def is_finite(x: Tree) -> jax.Array:
  """Returns whether every element is finite, a bool scalar."""
  return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x)]).all()


@jax.jit
def zeros_like(x: Tree) -> Tree:
  """Returns a tree of zeros."""
  return jax.tree.map(jnp.zeros_like, x)


def cosine(x: Tree, y: Tree) -> jax.Array:
  """Returns the cosine of the angle between two trees, a scalar."""
  return dot(x, y) / (norm(x) * norm(y))


def size(x: Tree) -> int:
  """Returns the number of scalars in a tree, for instance the parameter count of a network."""
  return sum(leaf.size for leaf in jax.tree.leaves(x))
