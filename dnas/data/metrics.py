"""Metrics of classifiers: what is computed of every example of a validation or test set, and reported as its mean.

Loss and accuracies are always reported. These metrics are reported beside them where `--data.metrics` names them.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from dnas.core.config import check, check_name
from dnas.core.errors import InputError
from dnas.core.registry import Registry, is_function

Metric = Callable[[jax.Array, jax.Array], jax.Array]
"""Maps logits [B, classes] and labels, integers [B], to one number an example, [B]."""

_TAKEN = ("loss", "accuracy", "balanced_accuracy")


def _check(name: str, metric: Metric) -> None:
  if name in _TAKEN:
    raise InputError(f"metric '{name}' has the name of a number that is always reported; register it under another name.")
  is_function("a function of logits and labels")(name, metric)


METRICS: Registry[Metric] = Registry("metric", _check)
"""Metrics by name. The name stands in the records of a run, as in `valid/top_5_accuracy`."""


@METRICS.register("top_5_accuracy")
def top_5_accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns 1 for every example of which fewer than five classes have a larger logit than its label, else 0, float32 [B]."""
  own = jnp.take_along_axis(logits, labels[:, None], 1)
  return ((logits > own).sum(-1) < 5).astype(jnp.float32)


@METRICS.register("brier_score")
def brier_score(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the squared distance of the probabilities from the one-hot label, [B] (Brier, "Verification of Forecasts", 1950, eq. 2)."""
  distance = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1])
  return jnp.square(distance).sum(-1)


def check_metrics(metrics: Sequence[str]) -> None:
  """Raises FieldError for the field `metrics` if a name is unknown or stands there twice."""
  for name in metrics:
    check_name("metrics", name, METRICS)
  check(len(set(metrics)) == len(metrics), "metrics", ",".join(metrics), "name each metric once")


def values(name: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns a registered metric of every example, [B]. Raises InputError if the metric returns another shape."""
  result = jnp.asarray(METRICS[name](logits, labels))
  if result.shape != labels.shape:
    raise InputError(f"metric '{name}' returns an array of shape {result.shape} for {len(labels)} examples; return one number for each.")
  return result
