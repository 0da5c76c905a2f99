"""Functions that are cut against the same functions compiled whole, how many programs they take, and a JAX that cannot be cut."""

import functools
import gc
import os
import pathlib
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.compiler import chain, derivatives, functions, pieces
from dnas.compiler.functions import Compiled, Loss, compiled
from dnas.compiler.marks import cutting, segment
from dnas.launchers._costs import costs

pytestmark = pytest.mark.versions
N = 5


@functools.partial(segment, static_argnums=(0,))
def layer(power: int, weights: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights) ** power * factor


def loss(weights: list[jax.Array], factors: jax.Array, x: jax.Array):
  """Four layers of two kinds; what else it returns are arrays, a constant, an input, integers and nothing."""
  for index, w in enumerate(weights):
    x = layer(1 + index % 2, w, x, factors[index]) + x
  return jnp.square(x).mean(), {"mean": x.mean(), "constant": 1.5, "number": 3, "factors": factors, "places": jnp.argsort(x[0]), "no": None}


def draw(seed: int = 0, batch: int = 3):
  rng = np.random.default_rng(seed)
  weights = [jnp.asarray(rng.normal(size=(N, N)), jnp.float32) for _ in range(4)]
  return weights, jnp.asarray(rng.normal(size=4), jnp.float32), jnp.asarray(rng.normal(size=(batch, N)), jnp.float32)


def direction(seed: int = 1):
  return draw(seed)[0]


def close(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert jnp.result_type(one) == jnp.result_type(other) and jnp.shape(one) == jnp.shape(other)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6 * max(1.0, float(np.abs(other).max())))


def programs(function: Compiled) -> list[str]:
  """Returns the names of the different programs of a function that was called with one kind of arguments and was cut."""
  (found,) = function.chains.values()
  return [program.jitted.__name__ for program in dict.fromkeys(call.program for call in found[0].calls)]


DERIVATIVES = {
  "both": lambda of: of.gradient((0, 1)),
  "weights": lambda of: of.gradient((0,)),
  "factors": lambda of: of.gradient((1,)),
  "hessian product": lambda of: of.hessian_product(along=0),
  "value": lambda of: compiled(loss),
}


def arguments_of(name: str, seed: int = 0):
  return (*draw(seed), direction(seed + 1)) if name == "hessian product" else draw(seed)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_function_that_is_cut_is_the_function(name):
  function = DERIVATIVES[name](Loss(loss, (0, 1)))
  for seed in range(3):
    close(function(*arguments_of(name, seed)), function.whole(*arguments_of(name, seed)))
  assert programs(function).count("segment_layer") >= 2


@pytest.mark.parametrize("name", DERIVATIVES)
def test_vectorized_by_the_host_and_traced(name):
  function = DERIVATIVES[name](Loss(loss, (0, 1)))
  first, *rest = arguments_of(name)
  many = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), first)
  axes = 0, *[None] * len(rest)
  expected = jax.vmap(function.whole, axes)(many, *rest)
  close(jax.vmap(function, axes)(many, *rest), expected)
  assert function.chains == {} and programs(function.wider()).count("segment_layer") >= 2
  close(jax.jit(jax.vmap(function, axes))(many, *rest), expected)
  twice = jax.vmap(lambda factor: jax.vmap(function, axes)(jax.tree.map(lambda leaf: factor * leaf, many), *rest))(jnp.float32([1, 2]))
  close(jax.tree.map(lambda leaf: leaf[0], twice), expected)


def test_derivatives_share_their_forward_programs_and_compute_no_more_than_they_need():
  of = Loss(loss, (0, 1))
  both, factors = of.gradient((0, 1)), of.gradient((1,))
  both(*draw()), factors(*draw())
  # Forward two kinds of layers, by the power; and the last one's input, and the first one's, are differentiated like all.
  assert programs(both).count("segment_layer") == programs(factors).count("segment_layer") == 3
  calls = [{call.program for call in next(iter(f.chains.values()))[0].calls} for f in (both, factors)]
  forward = {program for program in calls[0] & calls[1] if program.jitted.__name__ == "segment_layer"}
  assert len(forward) == 3
  assert costs(factors, *draw())["flops"] < costs(both, *draw())["flops"]
  value = compiled(loss)
  value(*draw())
  assert costs(value, *draw())["flops"] < costs(factors, *draw())["flops"]


@pytest.fixture
def no_programs(monkeypatch):
  monkeypatch.setattr(chain, "_PROGRAMS", weakref.WeakValueDictionary())


def test_functions_share_programs_as_long_as_one_of_them_lives(no_programs):
  first, second = Loss(loss, (0, 1)).gradient((0, 1)), Loss(lambda *args: loss(*args), (0, 1)).gradient((0, 1))
  first(*draw())
  count = len(chain._PROGRAMS)
  assert count > 0
  second(*draw(1))
  assert len(chain._PROGRAMS) == count
  del first, second
  gc.collect()
  assert len(chain._PROGRAMS) == 0


def test_nothing_compiles_again(compilations):
  function = Loss(loss, (0, 1)).gradient((0, 1))
  function(*draw())
  with compilations() as found:
    function(*draw(1))
  assert found == [] and len(function.chains) == 1
  function(*draw(batch=2))
  assert len(function.chains) == 2


def test_a_function_whose_parts_do_not_repeat_is_left_whole():
  def different(x):
    return layer(1, jnp.eye(N), x, jnp.float32(1)) + layer(2, jnp.eye(N), x, jnp.float32(1))

  function = compiled(different)
  close(function(draw()[2]), different(draw()[2]))
  assert list(function.chains.values()) == [None]
  unmarked = compiled(lambda x: x + 1)
  close(unmarked(jnp.ones(3)), jnp.full(3, 2.0))
  assert list(unmarked.chains.values()) == [None]
  assert costs(unmarked, jnp.ones(3))["memory"] >= 24


def test_what_is_traced_to_be_cut_is_told_so():
  told = []

  def function(x):
    told.append(cutting())
    return layer(1, jnp.eye(N), layer(1, jnp.eye(N), x, jnp.float32(1)), jnp.float32(1))

  compiled(function)(draw()[2])
  jax.jit(function)(draw()[2])
  assert told == [True, False]


TABLE = np.arange(2.0 * N, dtype=np.float32).reshape(2, N)
CONSTANTS = [np.float32(2), np.float32(3), 2.0, float("nan"), 0.0, -0.0, TABLE[0], TABLE[1], jnp.asarray(TABLE[1]), jnp.asarray(TABLE[0])]


def test_parts_that_differ_in_a_constant_are_different_programs():
  def named(constant):
    def scaled(x):
      return jnp.copysign(1.0, x * constant) + x * constant

    return segment(scaled)

  x, parts = jnp.arange(1.0, N + 1), [named(constant) for constant in CONSTANTS]
  out = compiled(lambda x: [part(x) for part in parts for _ in range(2)])(x)
  for result, constant in zip(out[::2], CONSTANTS, strict=True):
    product = np.asarray(x) * np.asarray(constant, np.float32)
    np.testing.assert_array_equal(result, np.copysign(np.float32(1), product) + product)


def test_equations_between_parts_that_differ_in_a_constant_are_different_programs():
  def between(x):
    for constant in (0.0, -0.0, 1.0, 2.0, 2):
      x = layer(1, jnp.eye(N), x, jnp.float32(1)) + jnp.copysign(1.0, jnp.abs(x) * constant) * constant
    return x

  x = draw()[2]
  close(compiled(between)(x), jax.jit(between)(x))


def test_a_part_that_passes_its_input_on_costs_no_copy():
  @segment
  def passing(w, x):
    return x @ w, x, w

  def of(w, x):
    for _ in range(6):
      x, before, w = passing(w, x)
    return x.sum(), before

  function = Loss(of, (0, 1)).gradient((0, 1))
  w, x = draw()[0][0], draw()[2]
  close(function(w, x), function.whole(w, x))
  (found,) = function.chains.values()
  made = [program.made for program in {call.program for call in found[0].calls} if program.jitted.__name__ == "segment_passing"]
  assert {tuple(v.shape for v in outputs) for outputs in made} == {((3, N),)}  # the product alone, though both factors are kept


def test_random_keys_and_integers_pass_through():
  @segment
  def dropped(key, index, x):
    return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, index), 0.5, x.shape), x, 0), index + 1

  def of(x, key):
    index = jnp.int32(0)
    for _ in range(4):
      x, index = dropped(key, index, x)
      x = 2.0 * x
    return x.sum(), (index, key)

  function, arguments = Loss(of, (0,)).gradient((0,)), (draw()[2], jax.random.key(3))
  ours, theirs = function(*arguments), function.whole(*arguments)
  assert (jax.random.key_data(ours[0][1][1]) == jax.random.key_data(theirs[0][1][1])).all()
  close((ours[0][0], ours[0][1][0], ours[1]), (theirs[0][0], theirs[0][1][0], theirs[1]))
  product, tangent = Loss(of, (0,)).hessian_product(along=0), draw(1)[2]
  close(product(*arguments, tangent), product.whole(*arguments, tangent))


@segment
@functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
def checkpointed(weights: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights) * 2.0


def test_a_checkpoint_hands_on_what_its_policy_saves_alone():
  def of(weights, x):
    return jnp.square(functools.reduce(lambda x, w: checkpointed(w, x), weights, x)).mean(), None

  function, (weights, _, x) = Loss(of, (0,)).gradient((0,)), draw()
  close(function(weights, x), function.whole(weights, x))
  (found,) = function.chains.values()
  forward = [call.program for call in found[0].calls if call.program.jitted.__name__ == "segment_checkpointed"]
  assert all(len(program.made) == 2 for program in forward)  # the result and the product, neither its tanh nor the derivative of that


@segment
def rooted(x):
  return jnp.square(jnp.sin(x)) * x


def test_third_derivatives_in_a_direction_at_a_constant_input():
  """A part that nothing moves, results on which the loss does not depend, and a gradient that is zero."""

  def of(x, idle, fixed):
    return (rooted(x) + rooted(fixed)).sum() + rooted(rooted(x)).sum(), rooted(idle)

  args = jnp.float32([0.3, 1.0]), jnp.float32([0.5, 2.0]), jnp.float32([0.1, 0.2])
  both = Loss(of, (0, 1))
  close(both.gradient((0, 1))(*args), both.gradient((0, 1)).whole(*args))
  product = both.hessian_product(along=0)
  close(product(*args, jnp.float32([1, 2])), product.whole(*args, jnp.float32([1, 2])))
  idle = both.hessian_product(along=1)
  close(idle(*args, jnp.float32([1, 2])), idle.whole(*args, jnp.float32([1, 2])))


def test_arguments_of_other_shapes_types_and_structures_are_told_apart():
  def add(x):
    return jax.tree.map(lambda leaf: rooted(rooted(rooted(1.0 * leaf))), x)

  function = compiled(add)
  for argument in (jnp.zeros(2), jnp.zeros(3), jnp.zeros(2, jnp.int32), {"a": jnp.zeros(2)}, np.float32(1), 1.0, (jnp.zeros(2), None)):
    close(function(argument), jax.jit(add)(argument))
  assert len(function.chains) == 7


def test_costs():
  function = compiled(lambda w, x: functools.reduce(lambda x, _: layer(1, w, x, jnp.float32(1)), range(3), x))
  arguments = jnp.zeros((N, N)), jnp.zeros((4, N))
  function(*arguments)
  found = costs(function, *arguments)
  assert found["flops"] >= 3 * 2 * 4 * N * N
  # Both arguments stay, and of the states that which is read and that which is written.
  assert 4 * (N * N + 4 * N + 2 * 4 * N) <= found["memory"] <= 4 * (N * N + 4 * N + 2 * 4 * N) + 1024


def test_where_jax_looks_for_nan_it_tells_the_part():
  @segment
  def logarithm(x: jax.Array) -> jax.Array:
    return jnp.log(x)

  function = compiled(lambda x: logarithm(2 * logarithm(x)))
  assert np.isnan(function(jnp.float32([-1])))
  jax.config.update("jax_debug_nans", True)
  try:
    with pytest.raises(FloatingPointError, match="segment_logarithm"):
      function(jnp.float32([-1]))
  finally:
    jax.config.update("jax_debug_nans", False)


def test_a_first_call_that_is_broken_off_is_made_again(monkeypatch):
  function = compiled(loss)
  with monkeypatch.context() as patch:
    patch.setattr(chain.Program, "_compile", broken_off)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
      function(*draw())
  close(function(*draw()), function.whole(*draw()))
  assert None not in function.chains.values()


def broken_off(*_):
  raise jax.errors.JaxRuntimeError("out of memory")


@pytest.mark.parametrize("flat", [jax.lax.stop_gradient, jnp.floor, jnp.sign], ids=lambda flat: flat.__name__)
def test_what_has_no_derivative_is_not_differentiated(flat):
  """Behind it is the root of zero, whose derivative is infinite: zero times that would be NaN."""

  @segment
  def root(x):
    return jnp.sqrt(x)

  @segment
  def flattened(x):
    return flat(root(x))

  x = jnp.float32([0, 1, 2])
  for of in (
    lambda x: (x + flat(root(root(x)) - x)).sum(),
    lambda x: flat(root(root(x))).sum() + x.sum(),
    lambda x: flattened(flattened(x)).sum() + x.sum(),
  ):
    made = Loss(lambda x, of=of: (of(x), root(root(x))), (0,))
    close(made.gradient((0,))(x), made.gradient((0,)).whole(x))
    product = made.hessian_product(along=0)
    close(product(x, jnp.ones(3)), product.whole(x, jnp.ones(3)))


def test_results_are_arrays_of_their_own():
  function = Loss(lambda b, x: (rooted(rooted(x)).sum() + b, (b, 2)), (0, 1)).gradient((0, 1))
  arguments = np.float32(1), np.float32([1, 2])
  for _ in range(2):
    ours, theirs = function(*arguments), function.whole(*arguments)
    close(ours, theirs)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(ours))


def test_a_function_is_traced_anew_under_other_settings():
  function = compiled(lambda x: (rooted(rooted(x)), jax.random.normal(jax.random.key(0), (3,))))
  x = jnp.ones(2)
  close(function(x), function.whole(x))
  with jax.threefry_partitionable(False):
    close(function(x), function.whole(x))
  with jax.disable_jit():
    close(function(x), function.whole(x))


def test_what_jax_refuses_is_refused():
  x = jnp.ones(3)
  for wrong, given in ((lambda x: (rooted(rooted(x)), None), x), (lambda x: (rooted(rooted(1.0 * x)).sum(), None), jnp.arange(3))):
    with pytest.raises(TypeError, match="(?i)grad"):
      Loss(wrong, (0,)).gradient((0,))(given)
  constant = Loss(lambda x: (1.5, rooted(rooted(x))), (0,)).gradient((0,))
  close(constant(x), constant.whole(x))


def test_a_number_is_shared_by_all_that_is_vectorized():
  function = compiled(lambda x, factor: factor * rooted(rooted(x)))
  xs = jnp.ones((4, 2))
  close(jax.vmap(function, (0, None))(xs, 2.0), jax.vmap(function.whole, (0, None))(xs, 2.0))


def test_effects_are_left_in_their_order_with_a_warning(monkeypatch, capfd):
  def printing(x):
    jax.debug.print("now")
    return layer(1, jnp.eye(N), layer(1, jnp.eye(N), x, jnp.float32(1)), jnp.float32(1))

  monkeypatch.setattr(functions, "_problems", [])
  with pytest.warns(UserWarning, match="it has effects, such as printing"):
    close(compiled(printing)(draw()[2]), jax.jit(printing)(draw()[2]))
  jax.effects_barrier()
  assert capfd.readouterr().out == "now\nnow\n"


def test_a_mistake_of_the_function_is_the_persons_and_no_warning():
  function = compiled(lambda x: layer(1, x, layer(1, x, x, jnp.float32(1)), jnp.float32(1)))
  with pytest.raises(TypeError, match="dot_general"):
    function(jnp.zeros((2, 3)))


class Gone:
  """What a version of JAX to come no longer has."""

  def __getattr__(self, name: str):
    raise AttributeError(f"module 'jax.extend.core' has no attribute '{name}'")


def missing(*_, **__):
  raise TypeError("it takes other arguments")


NEWER = {
  "an import": lambda patch: patch.setattr(pieces, "jex", None),
  "an attribute": lambda patch: patch.setattr(pieces, "jex", Gone()),
  "the cut": lambda patch: patch.setattr(pieces, "cut", missing),
  "an equation": lambda patch: patch.setattr(pieces, "_key", missing),
  "a trace": lambda patch: patch.setattr(jax, "make_jaxpr", missing),
  "the pulled-back function": lambda patch: patch.setattr(derivatives, "_backward", missing),
  "ahead-of-time compilation": lambda patch: patch.setattr(chain.Program, "_compile", missing),
}


@pytest.mark.parametrize("what", NEWER)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_newer_jax_degrades_with_one_warning_and_does_not_break(what, name, monkeypatch, no_programs):
  if what == "the pulled-back function" and name == "value":
    pytest.skip("a value needs no pulled-back function")
  monkeypatch.setattr(functions, "_problems", [])
  monkeypatch.setattr(jax, "__version__", "0.99")
  NEWER[what](monkeypatch)
  function, arguments = DERIVATIVES[name](Loss(loss, (0, 1))), arguments_of(name)
  with pytest.warns(UserWarning, match="With JAX 0.99 a network could not be cut .* dnas was tested with JAX") as said:
    for _ in range(2):
      close(function(*arguments), function.whole(*arguments))
    close(DERIVATIVES[name](Loss(loss, (0, 1)))(*arguments), function.whole(*arguments))
  assert len(said) == 1 and list(function.chains.values()) == [None]


DEVICES = """
import jax, numpy as np
from tests.compiler.test_compiler_functions import Loss, close, draw, loss
first, second = jax.devices()
function = Loss(loss, (0, 1)).gradient((0, 1))
expected = function(*draw())
for device in (first, second, first, second):
  found = function(*jax.device_put(draw(), device))
  assert found[0][0].devices() == {device}, found[0][0].devices()
  close(jax.device_get(found), jax.device_get(expected))
print(len(function.chains))
mesh = jax.make_mesh((2,), ("batch",), (jax.sharding.AxisType.Auto,))
places = [jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), ("batch",))]
weights, factors, x = draw(batch=4)
divided = *jax.device_put((weights, factors), places[0]), jax.device_put(x, places[1])
close(jax.device_get(function(*divided)), jax.device_get(function(weights, factors, x)))
print(all(found is not None for found in function.chains.values()))
"""


def test_arguments_on_another_device_are_computed_there_and_those_on_several_on_all():
  root = pathlib.Path(__file__).parents[2]
  flags = "--xla_force_host_platform_device_count=2"
  env = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "16"}
  done = subprocess.run([sys.executable, "-c", DEVICES], env=env, cwd=root, capture_output=True, text=True)
  assert done.stdout == "2\nTrue\n", done.stderr[-2000:]
