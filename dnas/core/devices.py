"""Devices that share the work: every batch is divided among them, and all else is on each of them.

A program is written for one device, and says where the examples of a batch go (`split`) and that what it returns is whole (`replicate`);
XLA divides it among the devices and puts in the sums between them. So batch statistics are those of the whole batch, and a run on several
devices computes what one device computes, but for the rounding of sums.

The devices are those of the process: `use` chooses them once, before anything is compiled. With one device nothing here does anything.
"""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dnas.core.config import check

Tree = Any

_AXIS = "batch"
_mesh: Mesh | None = None


def use(count: int) -> None:
  """Chooses how many devices share the work, 0 for all.

  Raises:
    FieldError: if there are not so many.
  """
  global _mesh
  found = jax.devices()
  check(0 <= count <= len(found), "devices", count, f"this machine shows {len(found)}; give at most that, or 0 for all")
  chosen = found[: count or len(found)]
  _mesh = jax.make_mesh((len(chosen),), (_AXIS,), (jax.sharding.AxisType.Auto,), devices=chosen) if len(chosen) > 1 else None


def check_batch(field: str, batch_size: int) -> None:
  """Raises FieldError unless a batch can be divided among the devices."""
  count = _mesh.size if _mesh else 1
  check(batch_size % count == 0, field, batch_size, f"{count} devices share a batch, so give a multiple of {count}, or other --devices")


def split(x: Tree, axis: int = 0) -> Tree:
  """Divides arrays along an axis, that of the examples; for use in compiled programs and outside of them."""
  return _place(x, PartitionSpec(*[None] * axis, _AXIS))


def replicate(x: Tree) -> Tree:
  """Puts whole arrays on every device; for use in compiled programs and outside of them."""
  return _place(x, PartitionSpec())


def _place(x: Tree, spec: PartitionSpec) -> Tree:
  if _mesh is None:
    return x
  sharding = NamedSharding(_mesh, spec)
  return jax.tree.map(lambda leaf: _place_array(leaf, sharding), x)


def _place_array(x: Any, sharding: NamedSharding) -> jax.Array:
  return jax.lax.with_sharding_constraint(x, sharding) if isinstance(x, jax.core.Tracer) else jax.device_put(x, sharding)
