"""Costs of a network at inference: weights, multiply-adds and the memory of activations, of the whole and of every layer.

The costs are those of one image, or of one word. They follow from the structure and the shapes alone; nothing is run.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.compiler import inference
from dnas.core import tree
from dnas.core.costs import Costs


@dataclasses.dataclass(frozen=True)
class Layer:
  """A part of a network.

  Attributes:
    path: the attributes that lead to the module, such as 'stack.cells.0'.
    shape: the shape of what it returns, of the largest array if it returns several.
    results: number of arrays that it returns.
    weights: number of trained numbers.
    multiply_adds: as in `Costs`.
    depth: number of modules around it in the list.
  """

  path: str
  shape: tuple[int, ...]
  results: int
  weights: int
  multiply_adds: int
  depth: int


Call = Callable[[Any, Any], Any]
"""Maps (module, examples) to the outputs, in inference mode."""

Inference = tuple[Callable[[functional.Variables, Any], Any], jax.ShapeDtypeStruct]
"""A pure function of variables and examples, and the shape of the examples."""


def of_image(network: functional.Network, variables: functional.Variables, shape: tuple[int, int, int]) -> Costs:
  """Returns the costs of one image of shape (H, W, C); the network is a `models.base.ImageNetwork`."""
  run, image = image_inference(network, shape, 1)
  return dataclasses.replace(of_function(run, variables, image), weights=trained(variables.weights))


def trained(weights: Mapping[str, Any]) -> int:
  """Returns the number of weights of an image network, without those of its auxiliary head."""
  return tree.size(weights) - tree.size(weights.get("auxiliary", {}))


def of_word(network: functional.Network, variables: functional.Variables) -> Costs:
  """Returns the costs of one word; the network is a `models.base.LanguageNetwork`."""
  run, word = word_inference(network, 1)
  return of_function(run, variables, word)


def of_function(run: Callable[[functional.Variables, Any], Any], variables: functional.Variables, example: Any) -> Costs:
  """Returns the costs of a pure function of a network's variables and a tree of arrays, or of their shapes."""
  before = len(jax.tree.leaves(variables))
  jaxpr = jax.make_jaxpr(run)(jax.eval_shape(lambda: variables), example)
  memory = inference.activation_bytes(jaxpr, range(before, before + len(jax.tree.leaves(example))))
  return Costs(tree.size(variables.weights), inference.parts(jaxpr).multiply_adds, memory)


def of_own_network(module: nnx.Module, inputs: Any) -> Costs:
  """Returns the costs of one example of a plain module of a user's own: those of a batch, divided by its size.

  Args:
    module: the module.
    inputs: a batch, a tree of arrays whose first axis are the examples.
  """
  (network, variables), key = functional.split_free(module), jax.random.key(0)

  def run(variables: functional.Variables, inputs: Any) -> Any:
    return functional.apply_free(network, variables, inputs, key, train=False)[0]

  whole = of_function(run, variables, jax.eval_shape(lambda: inputs))
  size = max(((x.shape or (1,))[0] for x in jax.tree.leaves(inputs)), default=1) or 1
  return Costs(whole.weights, round(whole.multiply_adds / size), round(whole.activation_bytes / size))


def image_inference(network: functional.Network, shape: tuple[int, ...], batch: int) -> Inference:
  """Returns the inference of an image network on a batch of images of shape (H, W, C)."""
  return _inference(network, _logits, jax.ShapeDtypeStruct((batch, *shape), np.float32))


def word_inference(network: functional.Network, batch: int) -> Inference:
  """Returns the inference of a language network on the next word of each of `batch` texts."""
  return _inference(network, _next_word, jax.ShapeDtypeStruct((1, batch), np.int32))


def _inference(network: functional.Network, call: Call, example: jax.ShapeDtypeStruct) -> Inference:
  def run(variables: functional.Variables, example: jax.Array) -> Any:
    return functional.call(network, variables, lambda module: call(module, example))[0]

  return run, example


def image_layers(module: nnx.Module, shape: tuple[int, int, int], depth: int) -> list[Layer]:
  """Returns the layers of an image network, to a depth of modules within modules; see `of_image`. Use the module for nothing else."""
  return _layers(module, _logits, jax.ShapeDtypeStruct((1, *shape), np.float32), depth)


def word_layers(module: nnx.Module, depth: int) -> list[Layer]:
  """Returns the layers of a language network; see `of_word` and `image_layers`."""
  return _layers(module, _next_word, jax.ShapeDtypeStruct((1, 1), np.int32), depth)


def _logits(network: Any, images: jax.Array) -> jax.Array:
  return network(images, train=False)[0]


def _next_word(network: Any, tokens: jax.Array) -> jax.Array:
  return network(tokens, network.initial_hidden(tokens.shape[1]), 1)[0]


def _layers(module: nnx.Module, call: Call, example: Any, depth: int) -> list[Layer]:
  weights = {".".join(map(str, path)): _size(one) for path, one in nnx.iter_modules(module)}
  for path, one in list(nnx.iter_modules(module)):
    if path:
      _show(one, ".".join(map(str, path)))
  whole = inference.parts(jax.make_jaxpr(lambda example: call(module, example))(example))
  found: list[Layer] = []

  def collect(part: inference.Part, around: int) -> None:
    for one in part.parts:
      if one.shape:  # a state that nothing reads makes none
        found.append(Layer(one.name, one.shape, one.results, weights[one.name], one.multiply_adds, around))
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
