"""Functions that are cut against the same functions compiled whole."""

import os
import pathlib
import sys

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_toy import DERIVATIVES, N, arguments_of, close, draw, layer, loss, programs

from dnas.compiler import chain, functions
from dnas.compiler.functions import Loss, compiled
from dnas.compiler.marks import segment
from dnas.core import devices

pytestmark = pytest.mark.versions


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


def branches(weights, x, factors):
  """A layer, and three branches of two layers each."""
  x = layer(1, weights[0], x, factors[0])
  ends = [layer(1, weights[1], layer(1, weights[0], x, factor), factor) for factor in factors[1:]]
  return sum(jnp.square(end).mean() for end in ends), None


def test_calls_of_a_wave_need_nothing_of_each_other(monkeypatch):
  weights, factors, x = draw()
  given, found = (weights, x, factors), {}
  for cores, large in ((1, chain.LARGE), (2, chain.LARGE), (8, chain.LARGE), (8, 0)):
    monkeypatch.setattr(devices, "cores", lambda cores=cores: list(range(cores)))
    monkeypatch.setattr(chain, "LARGE", large)
    gradient = Loss(branches, (0, 1)).gradient((0, 1))
    gradient(*given)
    found[cores, large] = gradient, gradient(*given)
    ((one, _),) = gradient.chains.values()
    known = set(range(one.given))
    for calls, _ in one.waves:
      assert all(known.issuperset(call.reads) for call in calls) and all(call.program.size <= large for call in calls[1:])
      known.update(slot for call in calls for slot in call.writes)
    assert sorted(map(id, one.calls)) == sorted(id(call) for calls, _ in one.waves for call in calls)
    assert max(len(calls) for calls, _ in one.waves) == (min(cores, chain.MOST_TOGETHER) if large else 1)
  alone = jax.tree.leaves(next(iter(found.values()))[1])
  for _, results in found.values():
    for ours, theirs in zip(jax.tree.leaves(results), alone, strict=True):
      np.testing.assert_array_equal(ours, theirs)
  close(found[8, 0][1], found[8, 0][0].whole(*given))


def test_helpers_see_the_settings_of_the_caller(monkeypatch):
  monkeypatch.setattr(devices, "cores", lambda: list(range(4)))
  weights, factors, x = jax.tree.map(lambda array: np.asarray(array, np.float64), draw())
  gradient = Loss(branches, (0, 1)).gradient((0, 1))
  with jax.enable_x64(True):
    first = gradient(weights, x, factors)
    close(gradient(weights, x, factors), first)
    assert first[0][0].dtype == np.float64


CALLS_BACK = """
import jax, numpy as np
jax.config.update("jax_cpu_enable_async_dispatch", False)
from compiler_toy import draw, layer
from dnas.compiler.functions import compiled
from dnas.compiler.marks import segment
from dnas.core import devices
devices.cores = lambda: list(range(4))
weights, factors, x = draw()
inner = compiled(lambda weights, x: sum(layer(1, w, x, factors[0]) for w in weights))
inner(weights, x)
called = lambda w, x: np.asarray(inner([jax.numpy.asarray(w)] * 4, jax.numpy.asarray(x)))
part = segment(lambda w, x: jax.pure_callback(called, jax.ShapeDtypeStruct(x.shape, x.dtype), w, x))
outer = compiled(lambda weights, x: sum(part(w, x) for w in weights))
first = outer(weights, x)
print(max(len(calls) for calls, _ in list(outer.chains.values())[0][0].waves), all((outer(weights, x) == first).all() for _ in range(30)))
"""


def test_a_program_may_call_a_function_that_is_cut(tmp_path):
  (tmp_path / "script.py").write_text(CALLS_BACK)
  folders = os.pathsep.join([*sys.path, str(pathlib.Path(__file__).parent)])
  done = forks.run(tmp_path / "script.py", cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": folders}, timeout=60)
  assert done.stdout.split() == ["4", "True"], done.stderr
