"""The residuals of a segment's gradient: only the results of products, convolutions and sums over the batch.

The gradient recomputes everything else. Reading a normalized or rectified array takes as long as recomputing it, and storing it takes a
write. If a function is cut into programs (`compiler`), this halves the data that a step moves. Within one program XLA decides.
"""

import jax
from jax.ad_checkpoint import checkpoint_name

_KEPT = "kept"

POLICY = jax.checkpoint_policies.save_from_both_policies(
  jax.checkpoint_policies.dots_saveable, jax.checkpoint_policies.save_only_these_names(_KEPT)
)
"""Policy for `jax.checkpoint`: saves the results of JAX's products and convolutions, and arrays marked by `keep`."""


def keep(x: jax.Array) -> jax.Array:
  """Returns x, marked as too expensive to recompute."""
  return checkpoint_name(x, _KEPT)
