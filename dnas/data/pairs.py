"""Pairs of inputs and targets of any kind, for networks of a user's own: arrays in memory, or whatever gives batches by (key, step)."""

import functools
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import devices, keys
from dnas.core.config import is_whole
from dnas.core.errors import InputError, counted, shown
from dnas.data.batches import epoch_permutation, num_batches

Tree = Any
Pair = tuple[Tree, Tree]
"""Inputs and targets: arrays, or trees of arrays, that all begin with the same axis of examples."""

Augment = Callable[[jax.Array, Tree, Tree], Pair]
"""Maps (typed random key, inputs, targets) of a batch to its augmented inputs and targets. JAX traces it."""


@runtime_checkable
class Batches(Protocol):
  """Data that give batches; implement it for data of another kind than arrays in memory.

  A batch is a function of (key, step), so a resumed run sees what the unbroken run would have seen. `key` is a typed random key that is the
  same in all steps of a run. All batches of one kind have one shape.
  """

  @property
  def steps_per_epoch(self) -> int:
    """The number of training batches of an epoch."""
    ...

  def train_batch(self, key: jax.Array, step: int) -> Pair:
    """Returns the training batch of a step, which counts through all epochs."""
    ...

  def valid_batch(self, key: jax.Array, step: int) -> Pair:
    """Returns the validation batch of a step, which trains the architecture."""
    ...

  def valid_batches(self) -> Iterable[Pair]:
    """Returns batches that visit every validation example once; the last one may be smaller."""
    ...


def check_batches(data: Any) -> None:
  """Raises InputError for data that give no batches, or no whole number of them."""
  if not isinstance(data, Batches):
    hint = "give dnas.Arrays(train, valid), or an object with steps_per_epoch, train_batch, valid_batch and valid_batches"
    raise InputError(f"data is {shown(type(data).__name__)}, which gives no batches; {hint}.")
  steps: Any = data.steps_per_epoch
  if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
    raise InputError(f"steps_per_epoch of the data is {shown(steps)}; it must be a whole number above zero.")


class Arrays:
  """Arrays in memory as `Batches`. They are copied to the device once.

  An epoch visits every training example, in an order that depends on the key and the epoch. The batches of validation examples that train
  the architecture go through their set in the same way.

  Attributes:
    steps_per_epoch: number of training batches that visit every example.
    examples: the numbers of training and of validation examples.
  """

  def __init__(
    self,
    train: Pair,
    valid: Pair | None = None,
    *,
    batch_size: int = 64,
    valid_portion: float = 0.5,
    eval_batch_size: int = 256,
    seed: int = 0,
    augment: Augment | None = None,
  ):
    """Copies the arrays to the device.

    Args:
      train: inputs and targets.
      valid: those of the validation; None takes a part of `train`.
      batch_size: examples of a training batch.
      valid_portion: the part of `train` that becomes the validation set, drawn at random, if `valid` is None.
      eval_batch_size: examples of a batch of an evaluation.
      seed: seed of that draw.
      augment: augments training batches; None leaves them as they are.

    Raises:
      InputError: for arrays that do not begin with one axis of examples, too few of them, or a value out of range.
    """
    count = _examples("train", train)
    if valid is None:
      if not isinstance(valid_portion, float) or not 0 < valid_portion < 1:
        raise InputError(f"valid_portion is {shown(valid_portion)}; give a fraction between 0 and 1.")
      order, first = keys.generator(seed, "division").permutation(count), count - round(count * valid_portion)
      train, valid = (jax.tree.map(lambda array, part=part: np.asarray(array)[np.sort(part)], train) for part in np.split(order, [first]))
    assert valid is not None
    self.examples = _examples("train", train), _examples("valid", valid)
    for name, size, most in (("batch_size", batch_size, min(self.examples)), ("eval_batch_size", eval_batch_size, 10**9)):
      if not is_whole(size) or not 1 <= size <= most:
        hint = f"the sets have {self.examples[0]} and {counted(self.examples[1], 'example')}, so give a whole number from 1 to {most}"
        raise InputError(f"{name} is {shown(size)}; {hint}.")
    devices.check_batch("batch_size", batch_size)
    self._valid_on_host = jax.tree.map(np.asarray, tuple(valid))
    self._sets = tuple(devices.replicate(jax.tree.map(jnp.asarray, tuple(pair))) for pair in (train, valid))
    self._sizes, self._augment = (batch_size, eval_batch_size), augment
    self.steps_per_epoch = num_batches(self.examples[0], batch_size)

  def train_batch(self, key: jax.Array, step: int) -> Pair:
    """See `Batches`."""
    return self._batch(0, key, step)

  def valid_batch(self, key: jax.Array, step: int) -> Pair:
    """See `Batches`."""
    return self._batch(1, key, step)

  def valid_batches(self) -> Iterable[Pair]:
    """See `Batches`."""
    size = self._sizes[1]
    for start in range(0, self.examples[1], size):
      yield jax.tree.map(lambda array, start=start: array[start : start + size], self._valid_on_host)

  def digest(self) -> str:
    """Returns a digest of all arrays, 16 hexadecimal digits."""
    hashed = hashlib.sha256()
    for array in jax.tree.leaves(self._sets):
      hashed.update(f"{array.dtype} {array.shape}".encode())
      hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:16]

  def _batch(self, which: int, key: jax.Array, step: int) -> Pair:
    epoch, index = divmod(step, num_batches(self.examples[which], self._sizes[0]))
    return _taken(self._sets[which], keys_of(key, which), np.int32(epoch), np.int32(index), self._sizes[0], self._augment)


@functools.partial(jax.jit, static_argnums=1)
def keys_of(key: jax.Array, which: int) -> jax.Array:
  """Returns the key of the order of one of the sets."""
  return keys.derive(key, "order", which)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _taken(pair: Pair, key: jax.Array, epoch: jax.Array, index: jax.Array, size: int, augment: Augment | None) -> Pair:
  count = len(jax.tree.leaves(pair)[0])
  order = epoch_permutation(key, epoch.astype(jnp.uint32), count)
  positions = order[(index * size + jnp.arange(size)) % count]
  inputs, targets = devices.split(jax.tree.map(lambda array: array[positions], pair))
  return (inputs, targets) if augment is None else augment(keys.derive(key, "augment", epoch, index), inputs, targets)


def _examples(name: str, pair: Any) -> int:
  """Returns the number of examples. Raises InputError for what are no arrays with one first axis."""
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    raise InputError(f"{name} is {shown(type(pair).__name__)}; give a pair (inputs, targets) of arrays.")
  shapes = [np.shape(leaf) for leaf in jax.tree.leaves(pair)]
  sizes = {shape[0] if shape else 0 for shape in shapes}
  if len(sizes) != 1 or 0 in sizes:
    raise InputError(f"{name} has arrays of the shapes {shown(shapes)}; all must begin with the same number of examples, at least 1.")
  for leaf in map(np.asarray, jax.tree.leaves(pair)):
    _check_kept(name, leaf)
  return sizes.pop()


def _check_kept(name: str, array: np.ndarray) -> None:
  """Raises InputError for what a device does not keep as it is: no numbers, numbers beyond its types, or numbers that are not finite."""
  if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
    raise InputError(f"{name} has an array of type {array.dtype}; give numbers, for instance the index of every class.")
  kept = jax.dtypes.canonicalize_dtype(array.dtype)
  if jnp.issubdtype(kept, jnp.inexact):
    with np.errstate(over="ignore"):
      finite = np.isfinite(array.astype(kept)).all()
    if not finite:
      raise InputError(f"{name} has numbers that are not finite as {kept}; correct or leave out those examples.")
  elif kept != array.dtype and (array.astype(kept) != array).any():
    raise InputError(f"{name} has whole numbers from {array.min()} to {array.max()}, and JAX keeps them as {kept}; lower them.")
