"""Costs of a network at inference: weights, multiply-adds and the memory of activations, of the whole and of every layer.

The costs are those of one image, or of one word. They follow from the structure and the shapes alone; nothing is run.
"""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dnas.cells import functional
from dnas.compiler import inference
from dnas.core import tree


@dataclasses.dataclass(frozen=True)
class Costs:
  """What a network costs.

  Attributes:
    weights: number of trained numbers, without those of an auxiliary head.
    multiply_adds: multiply-adds of the convolutions and products of one inference; see `compiler.inference`.
    activation_bytes: most memory that the activations of one inference need at once; see `inference.activation_bytes`.
  """

  weights: int
  multiply_adds: int
  activation_bytes: int


@dataclasses.dataclass(frozen=True)
class Layer:
  """A part of a network.

  Attributes:
    path: the attributes that lead to the module, such as 'stack.cells.0'.
    shape: the shape of what it returns.
    weights: number of trained numbers.
    multiply_adds: as in `Costs`.
    depth: number of modules around it in the list.
  """

  path: str
  shape: tuple[int, ...]
  weights: int
  multiply_adds: int
  depth: int


Call = Callable[[Any, jax.Array], jax.Array]
"""Maps (network, one example with a batch axis of 1) to the outputs, in inference mode."""


def of_image(network: functional.Network, variables: functional.Variables, shape: tuple[int, int, int]) -> Costs:
  """Returns the costs of one image of shape (H, W, C); the network is a `models.base.ImageNetwork`."""
  return _costs(network, variables, _logits, jax.ShapeDtypeStruct((1, *shape), jnp.float32))


def of_word(network: functional.Network, variables: functional.Variables) -> Costs:
  """Returns the costs of one word; the network is a `models.base.LanguageNetwork`."""
  return _costs(network, variables, _next_word, jax.ShapeDtypeStruct((1, 1), jnp.int32))


def image_layers(module: nnx.Module, shape: tuple[int, int, int], depth: int) -> list[Layer]:
  """Returns the layers of an image network, to a depth of modules within modules; see `of_image`. The module is used up."""
  return _layers(module, _logits, jax.ShapeDtypeStruct((1, *shape), jnp.float32), depth)


def word_layers(module: nnx.Module, depth: int) -> list[Layer]:
  """Returns the layers of a language network; see `of_word` and `image_layers`."""
  return _layers(module, _next_word, jax.ShapeDtypeStruct((1, 1), jnp.int32), depth)


def _logits(network: Any, images: jax.Array) -> jax.Array:
  return network(images, train=False)[0]


def _next_word(network: Any, tokens: jax.Array) -> jax.Array:
  return network(tokens, network.initial_hidden(1), 1)[0]


def _costs(network: functional.Network, variables: functional.Variables, call: Call, example: Any) -> Costs:
  def run(variables: functional.Variables, example: jax.Array) -> jax.Array:
    return functional.call(network, variables, lambda module: call(module, example))[0]

  jaxpr = jax.make_jaxpr(run)(jax.eval_shape(lambda: variables), example)
  memory = inference.activation_bytes(jaxpr, [len(jax.tree.leaves(variables))])
  return Costs(tree.size(variables.weights), inference.parts(jaxpr).multiply_adds, memory)


def _layers(module: nnx.Module, call: Call, example: Any, depth: int) -> list[Layer]:
  weights = {".".join(map(str, path)): _size(one) for path, one in nnx.iter_modules(module)}
  for path, one in list(nnx.iter_modules(module)):
    if 0 < len(path):
      _show(one, ".".join(map(str, path)))
  whole = inference.parts(jax.make_jaxpr(lambda example: call(module, example))(example))
  found: list[Layer] = []

  def collect(part: inference.Part, around: int) -> None:
    for one in part.parts:
      found.append(Layer(one.name, one.shape, weights[one.name], one.multiply_adds, around))
      if around + 1 < depth:
        collect(one, around + 1)

  collect(whole, 0)
  return found


def _show(module: nnx.Module, path: str) -> None:
  """Gives a module a class whose calls are parts of the network that is traced."""
  kind = type(module)

  def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
    return inference.part(path, lambda: kind.__call__(self, *args, **kwargs))  # pyright: ignore[reportCallIssue]

  module.__class__ = types.new_class(kind.__name__, (kind,), {}, lambda names: names.update(__call__=__call__))


def _size(module: nnx.Module) -> int:
  return tree.size(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
