"""Mixed precision: activations and products of a network in bfloat16, and all that is kept in float32.

Weights, statistics, architecture parameters and optimizers are float32 either way. A convolutional module casts its weights to the type of
what it is given, so the type of the network's input decides; moments and sums over operations are computed in float32, and logits are
float32. A recurrent cell casts the factors of its products, and keeps its states in float32.

Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018. bfloat16 has the range of float32 and needs no scaling of the loss.
"""

import jax
import jax.numpy as jnp

PRECISIONS = ("float32", "bfloat16")


def lower(x: jax.Array, precision: str) -> jax.Array:
  """Returns x in bfloat16 if that is the precision, and as it is otherwise."""
  return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


def product(x: jax.Array, y: jax.Array, precision: str) -> jax.Array:
  """Returns the matrix product, computed in a precision, in the type of x."""
  return (lower(x, precision) @ lower(y, precision)).astype(x.dtype)
