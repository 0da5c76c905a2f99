"""Descriptions of traced functions."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dnas.core.descriptions import Describer, Description


def describe(function, *args) -> Description:
  return Describer()(jax.make_jaxpr(function)(*args))


SQUARE, VECTOR = np.ones((3, 3), np.float32), np.ones(3, np.float32)

DIFFERENT = {
  "operation": (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
  "number": (lambda x: x * 2.0, lambda x: x * 3.0),
  "sign of zero": (lambda x: x * 0.0, lambda x: x * -0.0),
  "parameter": (lambda x: x.sum(0), lambda x: x.sum(1)),
  "arguments": (lambda x: x[0] - x[1], lambda x: x[1] - x[0]),
  "results": (lambda x: (x + 1, x + 2), lambda x: tuple(reversed((x + 1, x + 2)))),
  "what is used": (lambda x: jnp.sin(jnp.sin(x)) + jnp.sin(x), lambda x: jnp.sin(jnp.sin(x)) + jnp.sin(jnp.sin(x))),
  "inner function": (lambda x: jax.jit(jnp.sin)(x), lambda x: jax.jit(lambda x: jnp.sin(-x))(x)),
  "precision": (lambda x: x @ x, lambda x: jnp.matmul(x, x, precision="highest")),
}


@pytest.mark.parametrize("functions", DIFFERENT.values(), ids=DIFFERENT)
def test_what_computes_something_else_is_described_otherwise(functions):
  one, other = functions
  assert describe(one, SQUARE) != describe(other, SQUARE)
  assert describe(one, SQUARE) == describe(lambda x: one(x), SQUARE) and not describe(one, SQUARE).objects


def test_other_types_are_described_otherwise():
  descriptions = {describe(jnp.sin, x) for x in (SQUARE, VECTOR, VECTOR.astype(jnp.bfloat16), 1.0, np.float32(1))}
  assert len(descriptions) == 5  # the last two differ in that a Python number gives way to other types


def test_how_a_function_is_differentiated_does_not_matter():
  @jax.custom_jvp
  def one(x):
    return jnp.sin(x)

  @jax.custom_jvp
  def other(x):
    return jnp.sin(x)

  one.defjvp(lambda primals, tangents: (one(*primals), tangents[0]))
  other.defjvp(lambda primals, tangents: (other(*primals), 2 * tangents[0]))
  assert describe(one, VECTOR) == describe(other, VECTOR) and not describe(one, VECTOR).objects
  assert describe(jax.grad(lambda x: one(x).sum()), VECTOR) != describe(jax.grad(lambda x: other(x).sum()), VECTOR)


def test_functions_that_are_called_on_the_host_are_told_by_themselves():
  def calling(function):
    return lambda x: jax.pure_callback(function, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

  one = calling(np.sin)
  assert describe(one, VECTOR).objects and describe(one, VECTOR) != describe(calling(lambda x: np.sin(x)), VECTOR)
  # So is a function that calls it.
  assert describe(lambda x: jax.jit(one)(x), VECTOR).objects


def test_devices_are_told_apart():
  (device,) = jax.devices()
  mesh = jax.sharding.Mesh([device], ("batch",))

  def constrained(mesh):
    return lambda x: lax.with_sharding_constraint(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*mesh.axis_names)))

  one, other = describe(constrained(mesh), VECTOR), describe(constrained(jax.sharding.Mesh([device], ("other",))), VECTOR)
  assert one == describe(constrained(jax.sharding.Mesh([device], ("batch",))), VECTOR) and one != other and one.objects


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from dnas.core.descriptions import Describer
def loss(w, x):
  return jnp.square(jax.nn.relu(jnp.pad(x @ w, ((0, 0), (1, 1))))).mean()
print(Describer()(jax.make_jaxpr(jax.value_and_grad(loss))(np.ones((3, 3), np.float32), np.ones((2, 3), np.float32))).digest)
"""


def test_a_description_holds_in_another_process():
  found = [
    subprocess.run([sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
    for seed in ("1", "2")
  ]
  assert found[0].stdout == found[1].stdout and len(found[0].stdout) == 65
