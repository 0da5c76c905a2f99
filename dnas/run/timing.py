"""The duration of compiled programs on this device."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def milliseconds(program: Callable[..., Any], *arguments: Any, most: int, least: int = 1, seconds: float = math.inf) -> np.ndarray:
  """Returns the milliseconds of calls of a program, one after the other. Two calls before them compile the program and warm it up.

  Args:
    program: the compiled function.
    *arguments: its arguments, on the device.
    most: number of calls.
    least: number of calls that are made however long they take.
    seconds: once the calls and the one that warms up have taken so long, no call beyond `least` begins.
  """
  jax.block_until_ready(program(*arguments))
  times: list[float] = []
  while len(times) <= least or (len(times) <= most and sum(times) < seconds):
    began = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    times.append(time.perf_counter() - began)
  return 1e3 * np.array(times[1:])
