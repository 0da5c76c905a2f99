"""Functions compiled in segments against the same functions compiled whole, and how many programs they take."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.core import segments
from dnas.core.segments import Segmented, evaluation, segment

N = 5


@functools.partial(segment, static_argnums=(0,))
def layer(power: int, weights: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights) ** power


def network(weights: list[jax.Array], x: jax.Array) -> jax.Array:
  for power, one in zip((1, 1, 2, 1), weights, strict=True):
    x = layer(power, one, x) + 0.5
  return jnp.square(x).mean()


@evaluation
def gradient(weights: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
  return jax.value_and_grad(network)(weights, x)


def step(evaluate, weights: list[jax.Array], x: jax.Array, key: jax.Array) -> tuple[list[jax.Array], jax.Array]:
  """Two evaluations, as in a bilevel step."""
  before, first = evaluate(weights, x)
  ahead = jax.tree.map(lambda w, g: w - 0.1 * g, weights, first)
  loss, second = evaluate(ahead, x + jax.random.normal(key, x.shape))
  return jax.tree.map(lambda w, g: w - 0.1 * g, weights, second), loss + before


def draw(seed: int = 0, batch: int = 3) -> tuple[list[jax.Array], jax.Array]:
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=(N, N)), jnp.float32) for _ in range(4)], jnp.asarray(rng.normal(size=(batch, N)), jnp.float32)


def programs(function: Segmented) -> list[str]:
  """Returns the names of the different programs of a function that was called once."""
  ((sequence, _),) = function._made.values()
  return [program.name for program in dict.fromkeys(call.program for call in sequence._calls)]


def close(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), ours, theirs)


FUNCTIONS = {
  "value": network,
  "gradient": gradient,
  "step": lambda weights, x: step(jax.jit(gradient), weights, x, jax.random.key(1)),
  "step of a segmented function": lambda weights, x: step(Segmented(gradient), weights, x, jax.random.key(1)),
  "hessian product": lambda weights, x: jax.jvp(lambda w: gradient(w, x)[1], (weights,), (weights,))[1],
  "no segment": lambda weights, x: (x @ weights[0], {"input": x, "constant": 1.5, "nothing": None}),
}


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_segmented_function_is_the_function(name, fine):
  function, arguments = FUNCTIONS[name], draw()
  close(Segmented(function, fine=fine)(*arguments), jax.jit(function)(*arguments))


@pytest.mark.parametrize("fine", [True, False])
def test_vectorized(fine):
  weights, x = draw()
  many = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), weights)
  keys = jax.random.split(jax.random.key(2), 3)
  function = jax.vmap(functools.partial(step, jax.jit(gradient)), (0, None, 0))
  out = Segmented(function, fine=fine)(many, x, keys)
  for seed in range(3):
    alone = step(gradient, jax.tree.map(lambda leaf, seed=seed: leaf[seed], many), x, keys[seed])
    close(jax.tree.map(lambda leaf, seed=seed: leaf[seed], out), alone)


def test_equal_segments_are_one_program():
  function = Segmented(gradient)
  function(*draw())
  names = programs(function)
  # Forward two kinds of layers, by the power, and backward the same, but for the first layer, whose input needs no gradient.
  assert names.count("segment_layer") == 5


def test_evaluations_are_one_program_however_often_they_stand_in_a_function():
  function = Segmented(functools.partial(step, jax.jit(gradient)), fine=False)
  function(*draw(), jax.random.key(0))
  assert sorted(programs(function)) == ["between", "between", "evaluation_gradient"]
  fine = Segmented(functools.partial(step, jax.jit(gradient)))
  fine(*draw(), jax.random.key(0))
  assert programs(fine).count("segment_layer") == 5


def test_what_nobody_needs_is_not_computed():
  functions = gradient, lambda *args: gradient(*args)[1][0], lambda *args: gradient(*args)[0]
  flops = [Segmented(function).costs(*draw())["flops"] for function in functions]
  assert flops[0] > flops[1] > flops[2] > 0


def chosen(results: tuple[jax.Array, list[jax.Array]]) -> dict[str, jax.Array | None]:
  """The loss, and the gradient in the first layer's weights, to which that in the others is no way."""
  loss, gradients = results
  return {"loss": loss, "first": gradients[0], "others": None}


@pytest.mark.parametrize("fine", [True, False])
def test_chosen_results_are_those_of_the_whole(fine):
  whole = Segmented(gradient, fine=fine, choose=chosen)
  for seed in range(2):
    close(whole.chosen(*draw(seed)), chosen(whole(*draw(seed))))
  close(whole.chosen(*draw()), chosen(jax.jit(gradient)(*draw())))
  close(whole(*draw()), jax.jit(gradient)(*draw()))
  close(jax.jit(whole.chosen)(*draw()), chosen(jax.jit(gradient)(*draw())))
  assert Segmented(gradient).chosen is None


def test_chosen_results_share_the_programs_of_the_whole_and_take_no_more_than_they_need(compilations):
  whole, arguments = Segmented(gradient, choose=chosen), draw()
  whole(*arguments)
  with compilations() as compiled:
    whole.chosen(*arguments)
  assert compiled == []
  # Both kinds of layers make the gradient in their weights in the same way, by a program more.
  names = programs(whole).count("segment_layer"), programs(whole.chosen).count("segment_layer")
  assert names == (5 + 1, 5)
  products = 2 * 3 * N * N
  some, every = whole.chosen.costs(*draw())["flops"], whole.costs(*draw())["flops"]
  assert every - some == pytest.approx(3 * products, rel=0.2)


@segment
@functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
def checkpointed(weights: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights) * 2.0


def checkpointed_gradient(weights: list[jax.Array], x: jax.Array) -> tuple[jax.Array, tuple[list[jax.Array], jax.Array]]:
  def loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    return jnp.square(functools.reduce(lambda x, w: checkpointed(w, x), weights, x)).mean()

  return jax.value_and_grad(loss, (0, 1))(weights, x)


def test_a_checkpoint_is_split_and_what_is_cheap_is_made_twice():
  whole = Segmented(checkpointed_gradient, choose=lambda results: results[1][1])  # the gradient in the input, and not in weights
  close(whole(*draw()), jax.jit(checkpointed_gradient)(*draw()))
  close(whole.chosen(*draw()), whole(*draw())[1][1])
  ((sequence, _),) = whole._made.values()
  calls = [call for call in sequence._calls if call.program.name.startswith("segment_")]
  forward, backward = calls[:4], calls[4:]
  assert len(backward) == 8 and len({call.program for call in forward}) == 1
  for call in forward:
    assert len(call.outputs) == 2  # the result, and the product; neither its tanh nor what the derivative of that is
  for first in backward[::2]:
    assert len(first.outputs) == 2  # the gradient in the input, and what the product's gradient is
  lowered = forward[0].program.lower().as_text()
  assert "reduce_precision" in jax.jit(checkpointed_gradient).lower(*draw()).as_text() and "reduce_precision" not in lowered


def test_functions_share_programs_as_long_as_one_of_them_lives():
  gc.collect()
  before = len(segments._PROGRAMS)
  first, second = Segmented(gradient), Segmented(lambda weights, x: gradient(weights, x))
  first(*draw())
  count = len(segments._PROGRAMS)
  assert count > before
  second(*draw(1))
  assert len(segments._PROGRAMS) == count
  other = Segmented(gradient, {"xla_backend_optimization_level": 0})
  other(*draw())
  assert len(segments._PROGRAMS) == count + (count - before)
  del first, second, other
  gc.collect()
  assert len(segments._PROGRAMS) == before


def test_nothing_compiles_again(compilations):
  function = Segmented(gradient)
  function(*draw())
  with compilations() as compiled:
    function(*draw(1))
  assert compiled == [] and function._cache_size() == 1
  function(*draw(batch=2))
  assert function._cache_size() == 2


TABLE = np.arange(2.0 * N, dtype=np.float32).reshape(2, N)
CONSTANTS = [np.float32(2), np.float32(3), 2.0, float("nan"), TABLE[0], TABLE[1], -TABLE[1], jnp.asarray(TABLE[1]), jnp.asarray(TABLE[0])]


def test_segments_that_differ_in_a_constant_are_different_programs():
  def named(constant):
    def scaled(x):
      return x * constant

    return segment(scaled)

  x = jnp.arange(1.0, N + 1)
  out = Segmented(lambda x: [named(constant)(x) for constant in CONSTANTS])(x)
  for result, constant in zip(out, CONSTANTS, strict=True):
    np.testing.assert_array_equal(result, np.asarray(x) * np.asarray(constant, np.float32))


def test_arguments_of_other_shapes_types_and_structures_are_told_apart():
  function = Segmented(lambda x: jax.tree.map(lambda leaf: leaf + 1, x))
  for argument in (jnp.zeros(2), jnp.zeros(3), jnp.zeros(2, jnp.int32), {"a": jnp.zeros(2)}, np.float32(1), 1.0, (jnp.zeros(2), None)):
    close(function(argument), jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + 1, x))(argument))
  assert function._cache_size() == 7


def test_costs():
  function = Segmented(lambda w, x: layer(1, w, layer(1, w, layer(1, w, x))))
  costs = function.costs(jnp.zeros((N, N)), jnp.zeros((4, N)))
  assert costs["flops"] >= 3 * 2 * 4 * N * N
  # Both arguments stay, and of the states that which is read and that which is written.
  assert 4 * (N * N + 4 * N + 2 * 4 * N) <= costs["memory"] <= 4 * (N * N + 4 * N + 2 * 4 * N) + 1024


def test_where_jax_looks_for_nan_it_tells_the_segment():
  @segment
  def logarithm(x: jax.Array) -> jax.Array:
    return jnp.log(x)

  function = Segmented(lambda x: 2 * logarithm(x))
  assert np.isnan(function(jnp.float32([-1])))
  jax.config.update("jax_debug_nans", True)
  try:
    with pytest.raises(FloatingPointError, match="segment_logarithm"):
      function(jnp.float32([-1]))
  finally:
    jax.config.update("jax_debug_nans", False)
