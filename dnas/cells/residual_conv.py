"""A space of convolutional cells in which a trained skip connection can become a separable convolution without a jump.

A separable convolution begins with a ReLU, so no weights make it the identity. Here the operation is the sum of the skip connection and the
separable convolution, as in a residual block. If the last normalization of the convolution has a scale of zero, the sum is the skip
connection. Cells and networks are those of DARTS. Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Goyal et
al., "Accurate, Large Minibatch SGD", 2017, section 5.1 (scale of zero).
"""

import functools

import jax
import numpy as np
from flax import nnx

from dnas.cells.operations import OPERATIONS, OperationStack, Stacked, skip_connect
from dnas.cells.registries import SPACES
from dnas.core.space import CellSpace


class ResidualSeparable(nnx.Module):
  """The sum of a skip connection and a separable convolution, for several edges that leave one state."""

  def __init__(self, operation: str, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    """`operation` is the name of the separable convolution."""
    self.operation = operation
    self.skip = skip_connect(edges, channels, stride, affine, rng)
    self.branch = OperationStack((operation,), edges, channels, stride, affine, rng)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [1, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), C]."""
    return self.branch(x[0], train)[self.operation] + self.skip(x, train)


for size in (3, 5):
  separable = f"sep_conv_{size}x{size}"
  OPERATIONS.register(f"residual_{separable}")(Stacked(functools.partial(ResidualSeparable, separable)))

SPACE = CellSpace(
  name="residual_conv",
  cells=("normal", "reduce"),
  operations=("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "residual_sep_conv_3x3", "residual_sep_conv_5x5"),
)
SPACES.register(SPACE.name)(SPACE)
