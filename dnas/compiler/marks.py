"""Marks on the parts of a network. A function may be cut at them; `jax.jit` treats a marked part like any other function."""

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
  """Returns whether the function being traced will be cut at the marks, so that every marked part becomes a program."""
  return _cutting.get()


def to_cut(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a wrapper of a function; while the wrapper is traced, `cutting` returns true."""
  return lambda *args: contextvars.copy_context().run(lambda: (_cutting.set(True), function(*args))[1])
