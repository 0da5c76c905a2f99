"""What a user may register: operations of plain `nnx` modules, spaces made of them."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from flax import nnx

from dnas.cells.image_stack import ImageStack
from dnas.cells.nasbench201_stack import ResidualStack
from dnas.cells.operations import OPERATIONS
from dnas.cells.registries import SPACES, STACKS
from dnas.core.registry import Registry
from dnas.core.space import NONE, CellSpace


def rngs_of(rng: np.random.Generator) -> nnx.Rngs:
  return nnx.Rngs(int(rng.integers(2**31)))


class ConvNorm(nnx.Module):
  """Convolution and batch normalization, told of training by an argument."""

  def __init__(self, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    rngs = rngs_of(rng)
    self.conv = nnx.Conv(channels, channels, (3, 3), strides=stride, use_bias=False, rngs=rngs)
    self.norm = nnx.BatchNorm(channels, momentum=0.8, use_bias=affine, use_scale=affine, rngs=rngs)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    return self.norm(nnx.relu(self.conv(x)), use_running_average=not train)


class Dropped(nnx.Module):
  """The same with dropout, told of training by the modes of `nnx` alone."""

  def __init__(self, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    rngs = rngs_of(rng)
    self.conv = nnx.Conv(channels, channels, (1, 1), strides=stride, rngs=rngs)
    self.norm = nnx.BatchNorm(channels, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.dropout(self.norm(self.conv(x)))


def linear(edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator) -> nnx.Module:
  """Nothing but a linear layer at stride 1, and an average pooling before it at stride 2."""
  layer = nnx.Linear(channels, channels, rngs=rngs_of(rng))
  return layer if stride == 1 else nnx.Sequential(lambda x: nnx.avg_pool(x, (2, 2), (2, 2), padding="SAME"), layer)


def of_another_shape(edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator) -> nnx.Module:
  return nnx.Linear(channels, channels + 1, rngs=rngs_of(rng))


PLAIN = {"my_conv": ConvNorm, "my_dropout": Dropped, "my_linear": linear}
ONE_TYPE = CellSpace("one_type", ("cell",), (NONE, "skip_connect", "max_pool_3x3", *PLAIN), num_nodes=2)
ONE_INPUT = CellSpace("one_input", ("cell",), (*PLAIN, "nor_conv_1x1"), num_inputs=1, num_nodes=2, num_outputs=1)


@contextlib.contextmanager
def for_a_while() -> Iterator[None]:
  """Forgets in the end what was registered inside."""
  registries: tuple[Registry, ...] = (OPERATIONS, SPACES, STACKS)
  before = [dict(registry._units) for registry in registries]
  try:
    yield
  finally:
    for registry, units in zip(registries, before, strict=True):
      registry._units = units


@contextlib.contextmanager
def registered() -> Iterator[None]:
  """Registers all of it, for a while."""
  with for_a_while():
    for name, build in (PLAIN | {"of_another_shape": of_another_shape}).items():
      OPERATIONS.register(name)(build)
    for space, stack in ((ONE_TYPE, ImageStack), (ONE_INPUT, ResidualStack)):
      SPACES.register(space.name)(space)
      STACKS.register(space.name)(stack)
    yield
