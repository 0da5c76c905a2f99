"""Which programs functions that are cut take, how these are shared and made, and a JAX that cannot be cut."""

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
from compiler_toy import DERIVATIVES, N, arguments_of, close, draw, layer, loss, programs

from dnas.compiler import chain, derivatives, functions, pieces
from dnas.compiler.functions import Loss, compiled
from dnas.compiler.marks import cutting, segment
from dnas.launchers._costs import costs

pytestmark = pytest.mark.versions


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
from compiler_toy import close, draw, loss
from dnas.compiler.functions import Loss
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
  here = pathlib.Path(__file__).parent
  root, flags = here.parents[1], "--xla_force_host_platform_device_count=2"
  paths = os.pathsep.join(map(str, (here, root)))
  env = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "16"}
  done = subprocess.run([sys.executable, "-c", DEVICES], env=env, cwd=root, capture_output=True, text=True)
  assert done.stdout == "2\nTrue\n", done.stderr[-2000:]
