"""Trained weights as the start of another training, also for other classes."""

from typing import Any

import jax

from dnas.cells.functional import Variables
from dnas.core.errors import InputError

Tree = Any


def classifier_of(variables: Variables, wider: Variables) -> frozenset[str]:
  """Returns the paths of the weights that depend on the number of classes.

  Args:
    variables: those of a network.
    wider: those of the same network for another number of classes.
  """
  other = _by_path(wider.weights)
  return frozenset(path for path, leaf in _by_path(variables.weights).items() if leaf.shape != other[path].shape)


def carried_over(trained: Variables, fresh: Variables, classifier: frozenset[str]) -> Variables:
  """Returns the trained variables. Where the number of classes differs, the classifier is the fresh one.

  Args:
    trained: variables of a training that has ended.
    fresh: newly drawn variables of the network that starts from them.
    classifier: from `classifier_of`, for the network of `fresh`.

  Raises:
    InputError: if the two are not of one network.
  """

  def chosen(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
    if old.shape == new.shape:
      return old
    if jax.tree_util.keystr(path[1:]) not in classifier:
      raise InputError("The weights are of another network.")
    return new

  if jax.tree.structure(trained) != jax.tree.structure(fresh):
    raise InputError("The weights are of another network.")
  return jax.tree_util.tree_map_with_path(chosen, trained, fresh)


def held(weights: Tree, trained: frozenset[str]) -> Tree:
  """Returns the weights; derivatives flow into those at the paths `trained` alone."""

  def chosen(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
    return x if jax.tree_util.keystr(path) in trained else jax.lax.stop_gradient(x)

  return jax.tree_util.tree_map_with_path(chosen, weights)


def _by_path(weights: Tree) -> dict[str, Any]:
  return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(weights)}
