"""Activations: the functions that the operations of a recurrent cell apply."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dnas.core.registry import Registry, is_function

Activation = Callable[[jax.Array], jax.Array]

ACTIVATIONS: Registry[Activation] = Registry("activation", is_function("a function of an array"))
"""Maps an operation's name to its elementwise function. `none` computes nothing and is not registered."""

ACTIVATIONS.register("tanh")(jnp.tanh)
ACTIVATIONS.register("relu")(jax.nn.relu)
ACTIVATIONS.register("sigmoid")(jax.nn.sigmoid)


@ACTIVATIONS.register("identity")
def identity(x: jax.Array) -> jax.Array:
  """Returns its argument."""
  return x
