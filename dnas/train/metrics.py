"""Losses and accuracies of classifiers."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.records import BY_CLASS


def cross_entropy(
  logits: jax.Array, labels: jax.Array, class_weights: tuple[float, ...] | None = None, smoothing: jax.Array | float | None = None
) -> jax.Array:
  """Returns the cross-entropy of every example in nats, [B].

  Args:
    logits: [B, classes].
    labels: integers [B].
    class_weights: factor on the cross-entropy of the examples of each class; None weights nothing.
    smoothing: part of the target probability that is spread evenly over all classes (Szegedy et al., "Rethinking the Inception
      Architecture", CVPR 2016, section 7); None spreads nothing.
  """
  chex.assert_shape(logits, (*labels.shape, None))  # labels of another shape would be broadcast
  log_probabilities = jax.nn.log_softmax(logits)
  losses = -jnp.take_along_axis(log_probabilities, labels[:, None], 1)[:, 0]
  if smoothing is not None:
    losses = (1 - smoothing) * losses - smoothing * log_probabilities.mean(-1)
  return losses if class_weights is None else jnp.asarray(class_weights, losses.dtype)[labels] * losses


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns 1 for every example whose largest logit is that of its label and 0 otherwise, float32 [B]."""
  chex.assert_shape(logits, (*labels.shape, None))
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def accuracies(right: np.ndarray, seen: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """Returns the accuracy, the balanced accuracy and the accuracies of the classes, as fractions.

  Args:
    right: number of correctly classified examples of every class, [classes].
    seen: number of examples of every class, [classes]; at least one in total.
    class_names: one name per class.

  Returns:
    'accuracy' over all examples, 'accuracy_by_class/NAME' of every class that has examples, and their mean, 'balanced_accuracy'.
  """
  by_class = {name: float(r / n) for name, r, n in zip(class_names, right, seen, strict=True) if n}
  balanced = sum(by_class.values()) / len(by_class)
  named = {f"{BY_CLASS}/{name}": value for name, value in by_class.items()}
  return {"accuracy": float(right.sum() / seen.sum()), "balanced_accuracy": balanced, **named}
