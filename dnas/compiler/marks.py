"""Marks on the parts of a network, where a function may be cut. To `jax.jit` a marked part is a function like any other."""

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

_SEGMENT = "segment_"
_cutting: contextvars.ContextVar[bool] = contextvars.ContextVar("cutting", default=False)


def segment(function: Callable[..., Any], static_argnums: Sequence[int] = ()) -> Callable[..., Any]:
  """Marks a part of a network. Call it with arrays, and with hashable values at `static_argnums`."""
  marked = functools.wraps(function)(lambda *args: function(*args))
  marked.__name__ = _SEGMENT + function.__name__
  return jax.jit(marked, static_argnums=static_argnums)


def is_marked(name: str) -> bool:
  """Returns whether a function of this name is a marked part."""
  return name.startswith(_SEGMENT)


def cutting() -> bool:
  """Returns whether what is traced now will be cut at the marks, so that every marked part becomes a program."""
  return _cutting.get()


def to_cut(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function that is told, while it is traced, that it will be cut."""
  return lambda *args: contextvars.copy_context().run(lambda: (_cutting.set(True), function(*args))[1])
