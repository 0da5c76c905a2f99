"""What the gradient of a segment keeps of its evaluation: what products, convolutions and sums over the batch made, and no more.

All else is cheap to make of that: a normalized or rectified array takes as long to read as to compute anew, and would have to be written
first. Between the programs of a function that is cut (`compiler`) this halves what a step moves. Within one program XLA decides for itself.
"""

import jax
from jax.ad_checkpoint import checkpoint_name

_KEPT = "kept"

POLICY = jax.checkpoint_policies.save_from_both_policies(
  jax.checkpoint_policies.dots_saveable, jax.checkpoint_policies.save_only_these_names(_KEPT)
)
"""For `jax.checkpoint`: the results of products and convolutions of the library, and what is marked."""


def keep(x: jax.Array) -> jax.Array:
  """Returns x, marked as too expensive to be computed anew."""
  return checkpoint_name(x, _KEPT)
