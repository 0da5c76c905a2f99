"""Losses and accuracies of classifiers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.records import BY_CLASS


def cross_entropy(logits: jax.Array, labels: jax.Array, class_weights: tuple[float, ...] | None = None) -> jax.Array:
  """Returns the cross-entropy of every example in nats, [B].

  Args:
    logits: [B, classes].
    labels: integers [B].
    class_weights: what the cross-entropy of an example of each class is multiplied by; None multiplies nothing.
  """
  losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
  return losses if class_weights is None else jnp.asarray(class_weights, losses.dtype)[labels] * losses


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns 1 for every example whose largest logit is at its label and 0 otherwise, float32 [B]."""
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def accuracies(right: np.ndarray, seen: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """Returns accuracy over all examples, by class and balanced, all fractions, over the classes that have examples.

  Args:
    right: how many examples of every class are classified as such, [classes].
    seen: how many there are, [classes]; at least one in all.
    class_names: one name per class.

  Returns:
    'accuracy', 'balanced_accuracy', which is the mean of the accuracies of the classes, and 'accuracy_by_class/NAME' for every class.
  """
  by_class = {name: float(r / n) for name, r, n in zip(class_names, right, seen, strict=True) if n}
  balanced = sum(by_class.values()) / len(by_class)
  named = {f"{BY_CLASS}/{name}": value for name, value in by_class.items()}
  return {"accuracy": float(right.sum() / seen.sum()), "balanced_accuracy": balanced, **named}
