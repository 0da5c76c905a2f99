"""The rectified linear unit (ReLU) of the convolutional networks. Its outputs can be recorded while a network is traced."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_RECORDED: contextvars.ContextVar[list[jax.Array] | None] = contextvars.ContextVar("recorded", default=None)


def relu(x: jax.Array) -> jax.Array:
  """Returns max(x, 0). Within `recorded()` it also records the output."""
  y, outputs = jax.nn.relu(x), _RECORDED.get()
  if outputs is not None:
    outputs.append(y)
  return y


def recording() -> bool:
  """Returns whether outputs are recorded. If so, `relu` has a side effect."""
  return _RECORDED.get() is not None


@contextlib.contextmanager
def recorded() -> Iterator[list[jax.Array]]:
  """Yields a list to which every ReLU appends its output. Use the list only within the function that is being traced."""
  outputs: list[jax.Array] = []
  token = _RECORDED.set(outputs)
  try:
    yield outputs
  finally:
    _RECORDED.reset(token)
