"""Losses of a user's own, and their means over a whole validation set."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.errors import InputError, first_line, shown
from dnas.core.registry import is_name
from dnas.data.pairs import Pair

Tree = Any
Loss = Callable[[Tree, Tree], Any]
"""(outputs of the network, targets) to the mean loss of the batch, a scalar, or to a pair: that, and further means of the batch by name."""


def check_loss(loss: Any) -> None:
  """Raises InputError for a loss that is no function of outputs and targets."""
  hint = "give a function of the outputs of the network and the targets"
  if not callable(loss):
    raise InputError(f"the loss is {shown(type(loss).__name__)}; {hint}.")
  try:
    inspect.signature(loss).bind(None, None)
  except TypeError as e:
    raise InputError(f"the loss function does not fit ({first_line(e)}); {hint}.") from None
  except ValueError:  # it does not tell its arguments
    pass


def scored(loss: Loss, outputs: Tree, targets: Tree) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the loss and the metrics of a batch. Raises InputError for a loss that is no scalar, or metrics that are none by name."""
  result: Any = loss(outputs, targets)
  if isinstance(result, tuple) and len(result) != 2:
    raise InputError(f"the loss function returns {len(result)} values; return the loss, or the loss and a dictionary of metrics by name.")
  value, metrics = result if isinstance(result, tuple) else (result, {})
  for number in (value, *(metrics.values() if isinstance(metrics, Mapping) else ())):
    if not isinstance(number, jax.Array | np.ndarray | np.generic | float | int):
      raise InputError(f"the loss function returns {shown(type(number).__name__)}; return numbers or arrays, computed by jax.numpy.")
  if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
    raise InputError(f"the loss function returns an array of shape {jnp.shape(value)}; return a scalar, such as the mean over the batch.")
  if not isinstance(metrics, Mapping):
    raise InputError(f"the loss function returns {shown(type(metrics).__name__)} beside the loss; return a dictionary of metrics by name.")
  for name, metric in metrics.items():
    if not is_name(name) or name == "loss" or name.startswith("valid_") or jnp.shape(metric) != ():
      hint = "give scalars, with names other than loss and valid_..."
      raise InputError(f"the loss function returns the metric {shown(name)} of shape {jnp.shape(metric)}; {hint}.")
  return jnp.asarray(value), {name: jnp.asarray(metric, jnp.float32) for name, metric in metrics.items()}


def means(evaluate: Callable[[Tree, Tree], Mapping[str, jax.Array]], batches: Iterable[Pair]) -> dict[str, float]:
  """Returns the means of metrics over batches, weighted by the numbers of their examples. `evaluate` maps inputs and targets to metrics."""
  results, sizes = [], []
  for inputs, targets in batches:
    results.append(evaluate(inputs, targets))  # read below, so that an accelerator need not wait
    sizes.append(len(jax.tree.leaves(inputs)[0]))
  if not results:
    raise InputError("valid_batches gives no batch; give validation examples.")
  return {name: float(np.average([np.float64(one[name]) for one in results], weights=sizes)) for name in results[0]}
