"""Losses and accuracies of classifiers."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the cross-entropy of every example in nats, [B], of logits [B, classes] and integer labels [B]."""
  return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns 1 for every example whose largest logit is at its label and 0 otherwise, float32 [B]."""
  return (logits.argmax(-1) == labels).astype(jnp.float32)
