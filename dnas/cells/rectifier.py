"""The rectified linear unit of the convolutional networks, whose outputs can be recorded while a network is traced."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_RECORDED: contextvars.ContextVar[list[jax.Array] | None] = contextvars.ContextVar("recorded", default=None)


def relu(x: jax.Array) -> jax.Array:
  """Returns max(x, 0)."""
  y, outputs = jax.nn.relu(x), _RECORDED.get()
  if outputs is not None:
    outputs.append(y)
  return y


def recording() -> bool:
  """Returns whether outputs are recorded, so that a rectifier does more than it returns."""
  return _RECORDED.get() is not None


@contextlib.contextmanager
def recorded() -> Iterator[list[jax.Array]]:
  """Within it, the outputs of all rectifiers are added to the list; use them in the function that is traced, and nowhere else."""
  outputs: list[jax.Array] = []
  token = _RECORDED.set(outputs)
  try:
    yield outputs
  finally:
    _RECORDED.reset(token)
