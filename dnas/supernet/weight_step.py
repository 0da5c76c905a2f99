"""One step of the weight optimizer, and its transposed derivative."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dnas.core import tree

Tree = Any


def optimizer_step(optimizer: tree.Optimizer, gradient: Tree, opt_state: Tree, parameters: Tree) -> tuple[Tree, Tree]:
  """Returns the parameters and the optimizer state after one step."""
  inner, to, back = _seen_by(optimizer)
  after, opt_state = _step(inner, to(gradient), opt_state, to(parameters))
  return back(after, parameters), opt_state


def pull_back_step(
  optimizer: tree.Optimizer, gradient: Tree, opt_state: Tree, weights: Tree, bar_weights: Tree, bar_state: Tree
) -> tuple[Tree, Tree, Tree]:
  """Applies the transposed derivative of one optimizer step.

  Args:
    optimizer: the optimizer.
    gradient, opt_state, weights: the inputs of the step.
    bar_weights, bar_state: derivatives of the loss with respect to the weights and the optimizer state after the step.

  Returns:
    The derivatives of the loss with respect to the inputs of the step: the gradient, the weights and the optimizer state. The derivative in
    the weights holds the gradient fixed, so only direct effects count, such as weight decay. Integers in the state, such as step counts,
    have derivative zero.
  """
  inner, to, back = _seen_by(optimizer)
  bars = _pulled_back(inner, to(gradient), opt_state, to(weights), to(bar_weights), bar_state)
  return back(bars[0], gradient), back(bars[1], weights), bars[2]


def _seen_by(optimizer: tree.Optimizer) -> tuple[optax.GradientTransformation, Callable[..., Any], Callable[..., Any]]:
  """Returns the inner optimizer, the map from a tree to its input, and the inverse map (input, like). The maps are separate programs."""
  if isinstance(optimizer, tree.Flattened):
    return optimizer.inner, tree.ravel, tree.unravel
  return optimizer, lambda x: x, lambda x, like: x


@functools.partial(jax.jit, static_argnums=0)
def _step(optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, parameters: Tree) -> tuple[Tree, Tree]:
  updates, opt_state = optimizer.update(gradient, opt_state, parameters)
  return optax.apply_updates(parameters, updates), opt_state


@functools.partial(jax.jit, static_argnums=0)
def _pulled_back(
  optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, weights: Tree, bar_weights: Tree, bar_state: Tree
) -> tuple[Tree, Tree, Tree]:
  leaves, treedef = jax.tree.flatten(opt_state)
  is_float = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

  def step(gradient: Tree, weights: Tree, floats: list[jax.Array]) -> tuple[Tree, list[jax.Array]]:
    remaining = iter(floats)
    state = treedef.unflatten([next(remaining) if real else leaf for leaf, real in zip(leaves, is_float, strict=True)])
    weights, state = _step(optimizer, gradient, state, weights)
    return weights, [leaf for leaf, real in zip(jax.tree.leaves(state), is_float, strict=True) if real]

  floats = [leaf for leaf, real in zip(leaves, is_float, strict=True) if real]
  bar_floats = [leaf for leaf, real in zip(jax.tree.leaves(bar_state), is_float, strict=True) if real]
  _, pull_back = jax.vjp(step, gradient, weights, floats)
  bar_gradient, bar_weights, bar_floats = pull_back((bar_weights, bar_floats))
  remaining = iter(bar_floats)
  bar_state = treedef.unflatten([next(remaining) if real else jnp.zeros_like(leaf) for leaf, real in zip(leaves, is_float, strict=True)])
  return bar_gradient, bar_weights, bar_state
