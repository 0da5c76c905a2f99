"""Operations of the NASNet search space and its successors, AmoebaNet and NAONet, that the DARTS space does not have.

Sources: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018, section 3.1; Real et al.,
"Regularized Evolution for Image Classifier Architecture Search", AAAI 2019; Luo et al., "Neural Architecture Optimization", NeurIPS 2018.
A dilated separable convolution dilates both of its layers by 2. The released code of AmoebaNet ignores the dilation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import convolution, pooling
from dnas.cells.blocks import BatchNorm, uniform
from dnas.cells.operations import OPERATIONS, Identity, Pool, ReluConvNorm, Separable, Stacked
from dnas.cells.rectifier import relu

for _size in (2, 5, 7):
  OPERATIONS.register(f"max_pool_{_size}x{_size}")(Pool(functools.partial(pooling.max_pool, window=_size)))
for _size in (2, 5):
  OPERATIONS.register(f"avg_pool_{_size}x{_size}")(Pool(functools.partial(pooling.avg_pool, window=_size)))
OPERATIONS.register("dil_sep_conv_3x3")(Separable(((3, 2), (3, 2))))
OPERATIONS.register("dil_sep_conv_5x5")(Separable(((5, 2), (5, 2))))


def identity(edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator, channels_in: int | None = None) -> nnx.Module:
  """Returns the identity. At stride 2, or if the number of channels changes, it is ReLU, 1x1 convolution, batch normalization."""
  if stride == 1 and channels_in in (None, channels):
    return Identity()
  return ReluConvNorm(1, edges, channels, stride, affine, rng, channels_in)


OPERATIONS.register("identity")(Stacked(identity, changes_channels=True))


class ReluConvNormLayers(nnx.Module):
  """Layers of ReLU, dense convolution and batch normalization.

  The layer with the most rows takes the stride of the rows, and the one with the most columns that of the columns.
  """

  def __init__(
    self,
    layers: tuple[tuple[int, int, int], ...],
    edges: int,
    channels: int,
    stride: int,
    affine: bool,
    rng: np.random.Generator,
    channels_in: int | None = None,
  ):
    """Builds the layers; each is (rows, columns, divisor), and has channels // divisor channels, at least one."""
    rows, columns = ([layer[axis] for layer in layers] for axis in range(2))
    self.kernel_sizes = tuple(zip(rows, columns, strict=True))
    strides = [[stride if index == sizes.index(max(sizes)) else 1 for index in range(len(layers))] for sizes in (rows, columns)]
    self.strides = tuple(zip(*strides, strict=True))
    widths = [channels_in or channels, *(max(channels // divisor, 1) for *_, divisor in layers)]
    shapes = [(edges, *size, *ends) for size, ends in zip(self.kernel_sizes, zip(widths, widths[1:], strict=False), strict=True)]
    self.kernels = nnx.List([uniform(rng, shape, int(np.prod(shape[1:-1]))) for shape in shapes])
    self.norms = nnx.List([BatchNorm(edges, width, affine) for width in widths[1:]])

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [1, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), D]."""
    for kernel, norm, size, stride in zip(self.kernels, self.norms, self.kernel_sizes, self.strides, strict=True):
      kernels, states = kernel[...].astype(x.dtype), relu(x)
      padding = size[0] // 2, size[1] // 2
      edges = [
        convolution.dense(states[edge % len(states)], kernels[edge], stride=stride, padding=padding) for edge in range(len(kernels))
      ]
      x = norm(jnp.stack(edges), train)
    return x


def _layers(name: str, *layers: tuple[int, int, int]) -> None:
  OPERATIONS.register(name)(Stacked(functools.partial(ReluConvNormLayers, layers), changes_channels=True))


_layers("nor_conv_1x3_3x1", (1, 3, 1), (3, 1, 1))
_layers("nor_conv_1x7_7x1", (1, 7, 1), (7, 1, 1))
_layers("bottleneck_conv_3x3", (1, 1, 4), (3, 3, 4), (1, 1, 1))
_layers("bottleneck_conv_1x3_3x1", (1, 1, 4), (1, 3, 4), (3, 1, 4), (1, 1, 1))
_layers("bottleneck_conv_1x7_7x1", (1, 1, 4), (1, 7, 4), (7, 1, 4), (1, 1, 1))
