"""The operations of the DARTS and NASNet spaces, by their published names, and stacks of them on the edges that leave one state.

An operation is a value: `Separable` layers, a `Pool`, or a function that builds a module. `Stacked` wraps the function if its module serves
several edges at once. `OperationStack` runs several operations on several edges at once and shares common work: one pooling per state, and
per layer depth one matrix product and one batch normalization for all separable convolutions. So the program is short and its
products are large.

Sources: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.1.1; Zoph et al., "NASNet", CVPR 2018, appendix A.
Axes: E edges, K operations, B batch, H height, W width, C channels.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import convolution, functional, pooling, stacks
from dnas.cells.blocks import BatchNorm, ConvBN, FactorizedReduce, on_device, pointwise, uniform
from dnas.cells.rectifier import relu
from dnas.cells.residuals import keep
from dnas.core import keys
from dnas.core.errors import InputError
from dnas.core.registry import Registry, is_function

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class Separable:
  """Layers of ReLU, depthwise convolution, pointwise convolution and batch normalization; the first layer takes the stride.

  Attributes:
    layers: (kernel size, dilation) of each layer.
  """

  layers: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pooling. In a search a batch normalization may follow, which scales it like the other operations.

  If the number of channels changes, a 1x1 convolution and a batch normalization follow, without a ReLU.

  Attributes:
    pool: maps (stack of states, stride) to the pooled stack.
  """

  pool: Callable[[jax.Array, int], jax.Array]


Build = Callable[[int, int, int, bool, np.random.Generator], nnx.Module]
"""(edges, channels, stride, affine, rng) to a module that maps [1, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), C].

It is called once per edge with `edges=1`, and `functional.Repeated` stacks the modules. So any `nnx` module can be used; draw its weights
with `nnx.Rngs(int(rng.integers(2**31)))`. The module's call may take an argument `train`.
"""


@dataclasses.dataclass(frozen=True)
class Stacked:
  """A module that serves several edges at once, which is faster than one module per edge.

  Attributes:
    build: builds the module, which maps ([1, B, H, W, C], train) to [E or 1, B, ceil(H / stride), ceil(W / stride), C]. All arrays of the
      module begin with an axis that the edges share equally, edge by edge.
    changes_channels: whether `build` takes `channels_in` by name, the channels of the state, if they differ from those of the output.
  """

  build: Callable[..., nnx.Module]
  changes_channels: bool = False


def _check(name: str, operation: Any) -> None:
  if not isinstance(operation, Separable | Pool | Stacked):
    is_function("a function that builds the module of an edge")(name, operation)


OPERATIONS: Registry[Separable | Pool | Stacked | Build] = Registry("operation", _check)

OPERATIONS.register("max_pool_3x3")(Pool(pooling.max_pool))
OPERATIONS.register("avg_pool_3x3")(Pool(pooling.avg_pool))
OPERATIONS.register("sep_conv_3x3")(Separable(((3, 1), (3, 1))))
OPERATIONS.register("sep_conv_5x5")(Separable(((5, 1), (5, 1))))
OPERATIONS.register("sep_conv_7x7")(Separable(((7, 1), (7, 1))))
OPERATIONS.register("dil_conv_3x3")(Separable(((3, 2),)))
OPERATIONS.register("dil_conv_5x5")(Separable(((5, 2),)))


class Zero(nnx.Module):
  """The operation `none`: zeros."""

  def __init__(self, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    self.stride = stride

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns zeros, [1, B, ceil(H / stride), ceil(W / stride), C]."""
    return jnp.zeros_like(x[:, :, :: self.stride, :: self.stride])


OPERATIONS.register("none")(Stacked(Zero))


def changes_channels(name: str) -> bool:
  """Returns whether an operation can put out another number of channels than its state has."""
  spec: Any = OPERATIONS[name]
  return isinstance(spec, Pool | Separable) or (isinstance(spec, Stacked) and spec.changes_channels)


class Identity(nnx.Module):
  """The state itself."""

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns x."""
    return x


def skip_connect(edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator) -> nnx.Module:
  """Returns the identity at stride 1, the factorized reduction at stride 2."""
  return Identity() if stride == 1 else FactorizedReduce(edges, channels, channels, affine, rng)


OPERATIONS.register("skip_connect")(Stacked(skip_connect))


class Noise(nnx.Module):
  """Standard normal noise in the place of the state (Zela et al., 2020, space S4). No gradient reaches the state.

  A counter among the batch statistics stands for a random key. So all passes of one step, which begin with the same statistics, see the
  same noise.
  """

  def __init__(self, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    self.stride = stride
    self.pass_number = nnx.BatchStat(on_device(rng.integers(2**23, size=edges)))

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns noise, [E, B, ceil(H / stride), ceil(W / stride), C]."""
    numbers, shape = self.pass_number[...], x[0, :, :: self.stride, :: self.stride].shape
    if train:
      self.pass_number.set_value(numbers + 1)
    draw = jax.vmap(lambda number: jax.random.normal(keys.derive(jax.random.key(0), "noise", number), shape, x.dtype))
    return draw(numbers.astype(jnp.uint32))


OPERATIONS.register("noise")(Stacked(Noise))


class ReluConvNorm(nnx.Module):
  """ReLU, dense convolution, batch normalization (NAS-Bench-201). The edges share their input, so one convolution serves all."""

  def __init__(
    self, size: int, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator, channels_in: int | None = None
  ):
    self.stride, self.padding, channels_in = stride, size // 2, channels_in or channels
    self.kernel = uniform(rng, (edges, size, size, channels_in, channels), size * size * channels_in)
    self.norm = BatchNorm(edges, channels, affine)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [1, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), D]."""
    kernel = self.kernel[...].astype(x.dtype)
    edges, channels = kernel.shape[0], kernel.shape[-1]
    flat = jnp.moveaxis(kernel, 0, 3).reshape(*kernel.shape[1:4], edges * channels)
    out = convolution.dense(relu(x[0]), flat, stride=self.stride, padding=self.padding)
    return self.norm(jnp.moveaxis(out.reshape(*out.shape[:3], edges, channels), 3, 0), train)


OPERATIONS.register("nor_conv_1x1")(Stacked(functools.partial(ReluConvNorm, 1), changes_channels=True))
OPERATIONS.register("nor_conv_3x3")(Stacked(functools.partial(ReluConvNorm, 3), changes_channels=True))


class Conv7x1x7(nnx.Module):
  """ReLU, 1x7 convolution, 7x1 convolution, batch normalization (AmoebaNet)."""

  def __init__(self, edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator):
    self.stride = stride
    self.row = uniform(rng, (edges, 1, 7, channels, channels), 7 * channels)
    self.column = uniform(rng, (edges, 7, 1, channels, channels), 7 * channels)
    self.norm = BatchNorm(edges, channels, affine)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [1, B, H, W, C] to [E, B, ceil(H / stride), ceil(W / stride), C]."""
    numbers = ("NHWC", "HWIO", "NHWC")

    def convolve(row: jax.Array, column: jax.Array) -> jax.Array:
      across = jax.lax.conv_general_dilated(relu(x[0]), row, (1, self.stride), [(0, 0), (3, 3)], dimension_numbers=numbers)
      return jax.lax.conv_general_dilated(across, column, (self.stride, 1), [(3, 3), (0, 0)], dimension_numbers=numbers)

    return self.norm(jax.vmap(convolve)(self.row[...].astype(x.dtype), self.column[...].astype(x.dtype)), train)


OPERATIONS.register("conv_7x1_1x7")(Stacked(Conv7x1x7))


class SeparableLayer(nnx.Module):
  """One depthwise separable layer of several operations: a depthwise kernel for each, then one product and one normalization for all."""

  def __init__(
    self, kernels: Sequence[tuple[int, int]], edges: int, ends: tuple[int, int], stride: int, affine: bool, rng: np.random.Generator
  ):
    """Builds the layer; `kernels` are (kernel size, dilation) of each operation, `ends` the channels of inputs and outputs."""
    (channels_in, channels), self.stride, self.dilations = ends, stride, tuple(dilation for _, dilation in kernels)
    self.depthwise = nnx.List([uniform(rng, (edges, size, size, channels_in), size * size) for size, _ in kernels])
    self.pointwise = uniform(rng, (edges * len(kernels), channels_in, channels), channels_in)
    self.norm = BatchNorm(edges * len(kernels), channels, affine)

  def __call__(self, inputs: Sequence[jax.Array], train: bool) -> list[jax.Array]:
    """Maps the input of every operation, [E or 1, B, H, W, C], to its output, [E, B, ceil(H / stride), ceil(W / stride), D]."""
    kernels = [kernel[...].astype(inputs[0].dtype) for kernel in self.depthwise]
    joined = convolution.depthwise_of_several([relu(x) for x in inputs], kernels, stride=self.stride, dilations=self.dilations)
    # Keep the array in the shape that the product reads: in another shape, a CPU compiler would compute it again.
    flat = keep(joined.reshape(joined.shape[0], -1, joined.shape[-1]))
    out = self.norm(pointwise(flat, self.pointwise[...]).reshape(*joined.shape[:-1], -1), train)
    return stacks.apart(out, len(kernels))


def _of(kind: type[Kind], names: Sequence[str]) -> dict[str, Kind]:
  """Returns those of the named operations that are of one kind."""
  specs: dict[str, Any] = {name: OPERATIONS[name] for name in names}
  return {name: spec for name, spec in specs.items() if isinstance(spec, kind)}


class OperationStack(nnx.Module):
  """Several operations, each on several edges that leave one state.

  All trained arrays and all statistics, except those of pooling, begin with an axis that the edges share equally, edge by edge.
  """

  def __init__(
    self,
    names: Sequence[str],
    edges: int,
    channels: int,
    stride: int,
    affine: bool,
    rng: np.random.Generator,
    pool_norm: bool = False,
    channels_in: int | None = None,
  ):
    """Builds the stack.

    Args:
      names: names of the operations.
      edges: number of edges; every operation is on every edge.
      channels: channels of the outputs.
      stride: 1 or 2.
      affine: whether batch normalizations train a scale and a bias.
      rng: source of the initial weights.
      pool_norm: whether a batch normalization follows every pooling, as in a search.
      channels_in: channels of the state; None stands for those of the outputs. Operations that change them are told by `changes_channels`.
    """
    specs = {name: OPERATIONS[name] for name in names}
    self.stride, self.channels, channels_in = stride, channels, channels_in or channels
    given = {} if channels_in == channels else {"channels_in": channels_in}
    self.pools = tuple(_of(Pool, names))
    self.pool_norm = BatchNorm(len(self.pools), channels, affine=False) if self.pools and pool_norm else None
    separable = _of(Separable, names)
    self.separable = tuple(separable)
    layers = []
    for depth in range(max((len(spec.layers) for spec in separable.values()), default=0)):
      kernels = [spec.layers[depth] for spec in separable.values() if depth < len(spec.layers)]
      ends = channels if depth else channels_in, channels
      layers.append(SeparableLayer(kernels, edges, ends, 1 if depth else stride, affine, rng))
    self.layers = nnx.List(layers)
    others = {}
    for name, spec in specs.items():
      if isinstance(spec, Stacked):
        others[name] = spec.build(edges, channels, stride, affine, rng, **given)
      elif not isinstance(spec, Pool | Separable):
        others[name] = functional.Repeated(name, [spec(1, channels, stride, affine, rng) for _ in range(edges)])
    self.others = nnx.Dict(others)
    projected = self.pools if given else ()
    self.projections = nnx.Dict({name: ConvBN(edges, channels_in, channels, affine, rng) for name in projected})

  def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Maps a state, [B, H, W, C], to each operation's output, [E or 1, B, ceil(H / stride), ceil(W / stride), D].

    All edges share an output of length 1. Raises InputError if an operation returns another shape.
    """
    expected = (x.shape[0], -(-x.shape[1] // self.stride), -(-x.shape[2] // self.stride), self.channels)
    x = x[None]
    outputs = {name: operation(x, train) for name, operation in self.others.items()}
    for name, output in outputs.items():
      if output.shape[1:] != expected:
        hint = f"at stride {self.stride} it must return {(1, *expected)}"
        raise InputError(f"operation '{name}' maps {x.shape} to {(1, *output.shape[1:])}; {hint}.")
    if self.pools:
      pooled = keep(jnp.concatenate([spec.pool(x, self.stride) for spec in _of(Pool, self.pools).values()]))
      pooled = pooled if self.pool_norm is None else self.pool_norm(pooled, train)
      outputs.update(zip(self.pools, jnp.split(pooled, len(self.pools)), strict=True))
      outputs.update({name: projection(outputs[name], train) for name, projection in self.projections.items()})
    hidden = dict.fromkeys(self.separable, x)
    for depth, layer in enumerate(self.layers):
      names = [name for name, spec in _of(Separable, self.separable).items() if depth < len(spec.layers)]
      hidden.update(zip(names, layer([hidden[name] for name in names], train), strict=True))
    return outputs | hidden
