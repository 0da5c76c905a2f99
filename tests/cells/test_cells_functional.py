"""Modules called as segments: the same numbers, one program for modules that are alike, and rematerialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dnas.cells import functional, rectifier
from dnas.cells.operations import OperationStack
from dnas.compiler import functions
from dnas.compiler.functions import Loss
from dnas.launchers._costs import costs

CHANNELS, EDGES, IMAGE = 4, 2, 8


class Chain(nnx.Module):
  """Three operations that are alike, one after the other."""

  def __init__(self, segments: bool, rematerialize: bool = False):
    rng = np.random.default_rng(0)
    self.operations = nnx.List([OperationStack(("sep_conv_3x3",), EDGES, CHANNELS, 1, False, rng) for _ in range(3)])
    self.segments, self.rematerialize = segments, rematerialize

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    for operation in self.operations:
      options = {"train": train, "rematerialize": self.rematerialize}
      outputs = functional.call_segment(operation, x, **options) if self.segments else operation(x, train=train)
      x = outputs["sep_conv_3x3"].sum(0)
    return x


def gradient_of(segments: bool, rematerialize: bool = False):
  network, variables = functional.split(Chain(segments, rematerialize))
  x = jnp.asarray(np.random.default_rng(1).normal(size=(3, IMAGE, IMAGE, CHANNELS)), jnp.float32)

  def loss(weights, stats, x):
    out, new = functional.apply(network, functional.Variables(weights, stats), x, train=True)
    return jnp.square(out).mean() + out[0, 0, 0, 0], new

  return Loss(loss, (0,)).gradient((0,)), (variables.weights, variables.stats, x)


def close(ours, theirs):
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("rematerialize", [False, True])
def test_values_gradients_and_statistics_are_those_of_the_module(rematerialize):
  whole, arguments = gradient_of(segments=False)
  parts, _ = gradient_of(True, rematerialize)
  close(parts(*arguments), whole(*arguments))


def test_rematerialization_takes_less_memory_and_more_arithmetic():
  (kept, arguments), (anew, _) = gradient_of(True), gradient_of(True, rematerialize=True)
  kept(*arguments), anew(*arguments)
  before, after = costs(kept, *arguments), costs(anew, *arguments)
  assert after["memory"] < before["memory"] and after["flops"] > before["flops"]


def test_a_gradient_in_segments_keeps_less_than_one_of_the_whole():
  """Where every operation is a segment, only what products and convolutions made, and the sums of the batch, is kept between programs."""
  parts, arguments = gradient_of(True)
  parts(*arguments)
  images = 3 * IMAGE * IMAGE * CHANNELS
  forward = programs_of(parts, "segment__evaluated")[0]
  # Two layers, each with what is convolved and what is multiplied, of both edges; and the output.
  assert sorted(v.size // (EDGES * images) for v in forward.made if v.size >= images) == [1] * 5


def programs_of(function, name: str):
  """Returns the programs of this name that a function calls which was called with one kind of arguments."""
  (found,) = function.chains.values()
  return [call.program for call in found[0].calls if call.program.jitted.__name__ == name]


class Edges(nnx.Module):
  """A stack of edges with weights and statistics of every edge, which the input and a number of its own reach."""

  def __init__(self, edges: int):
    rng = np.random.default_rng(edges)
    self.operations = OperationStack(("sep_conv_3x3", "dil_conv_5x5"), edges, CHANNELS, 1, False, rng)
    self.edges = edges

  def __call__(self, x: jax.Array, factors: jax.Array, train: bool) -> jax.Array:
    outputs = functional.call_stack(self.operations, jnp.split(factors, self.edges), x, train=train, function=scaled)
    assert len(outputs) == self.edges
    return sum((1 + edge) * output for edge, output in enumerate(outputs))


def scaled(operations: OperationStack, factors: jax.Array, x: jax.Array, train: bool) -> list[jax.Array]:
  outputs = operations(x, train)
  total = factors[:, None, None, None, None] * outputs["sep_conv_3x3"] + outputs["dil_conv_5x5"]
  return [edge[0] for edge in jnp.split(total, len(factors))]


def gradient_of_edges(edges: int):
  network, variables = functional.split(Edges(edges))
  x = jnp.asarray(np.random.default_rng(1).normal(size=(2, IMAGE, IMAGE, CHANNELS)), jnp.float32)

  def loss(weights, factors, stats, x):
    out, new = functional.apply(network, functional.Variables(weights, stats), x, factors, train=True)
    return jnp.square(out).mean() + out[0, 0, 0, 0], new

  return Loss(loss, (0, 1)).gradient((0, 1)), (variables.weights, jnp.arange(1.0, edges + 1), variables.stats, x)


def test_a_stack_edge_by_edge_is_the_stack_and_all_heights_share_their_programs(monkeypatch):
  monkeypatch.setattr(functions, "LEAST_REPETITION", 0)
  cut = [gradient_of_edges(edges) for edges in (3, 2)]
  for function, arguments in cut:
    close(function(*arguments), function.whole(*arguments))
  for name in ("segment__evaluated", "segment__evaluated_backward"):
    many, few = (programs_of(function, name) for function, _ in cut)
    assert (len(many), len(few)) == (3, 2) and len({*many, *few}) == 1  # each edge


def test_statistics_stay_in_inference():
  network, variables = functional.split(Chain(segments=True))
  _, stats = functional.apply(network, variables, jnp.ones((1, IMAGE, IMAGE, CHANNELS)), train=False)
  jax.tree.map(np.testing.assert_array_equal, stats, variables.stats)


def test_rectifiers_are_recorded_within_segments():
  network, variables = functional.split(Chain(segments=True))

  def count(x):
    with rectifier.recorded() as outputs:
      functional.apply(network, variables, x, train=True)
    return len(outputs)

  assert count(jnp.ones((1, IMAGE, IMAGE, CHANNELS))) == count(jnp.ones((1, IMAGE, IMAGE, CHANNELS))) == 3 * 2
