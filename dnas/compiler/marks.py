"""Marks on the parts of a network: where a function may be cut. To `jax.jit` a marked part is a function like any other."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

_SEGMENT = "segment_"

_CUTTING: contextvars.ContextVar[bool] = contextvars.ContextVar("cutting", default=False)


def segment(function: Callable[..., Any], static_argnums: Sequence[int] = ()) -> Callable[..., Any]:
  """Marks a part of a network. Call it with arrays, and with hashable values at `static_argnums`."""

  @functools.wraps(function)
  def marked(*args: Any) -> Any:
    return function(*args)

  marked.__name__ = _SEGMENT + function.__name__
  return jax.jit(marked, static_argnums=static_argnums)


def is_marked(name: str) -> bool:
  """Returns whether a part of this name is marked."""
  return name.startswith(_SEGMENT)


def cutting() -> bool:
  """Returns whether what is traced now will be cut at the marks, so that every marked part becomes a program."""
  return _CUTTING.get()


@contextlib.contextmanager
def tracing_to_cut() -> Iterator[None]:
  """Within it `cutting` is true."""
  token = _CUTTING.set(True)
  try:
    yield
  finally:
    _CUTTING.reset(token)
