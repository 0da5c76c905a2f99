"""Mixed precision: a network's activations and products in bfloat16, its stored values in float32.

Weights, statistics, architecture parameters and optimizers are always float32. A convolutional module casts its weights to the type of its
input, so the input type of the network sets the precision. Batch statistics and sums over operations are computed in float32. Logits are
float32. A recurrent cell casts the factors of its products, and keeps its states in float32.

Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018. bfloat16 has the range of float32 and needs no scaling of the loss.
"""

import jax
import jax.numpy as jnp

PRECISIONS = ("float32", "bfloat16")


def lower(x: jax.Array, precision: str) -> jax.Array:
  """Returns x in bfloat16 if that is the precision; otherwise returns x unchanged."""
  return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


def product(x: jax.Array, y: jax.Array, precision: str) -> jax.Array:
  """Returns the matrix product in the type of x, with both factors cast to the precision."""
  return (lower(x, precision) @ lower(y, precision)).astype(x.dtype)
