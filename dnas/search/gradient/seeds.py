"""Several searches that differ only in their seed, run side by side by vectorized programs.

One small supernet leaves an accelerator partly idle; several supernets fill it better. Each search equals a search that runs alone, up to
the rounding of sums.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.records import SearchResult
from dnas.run import loop
from dnas.search.gradient.darts import DartsTask, State, StepInputs

Tree = Any


class SeedsTask:
  """Differentiable searches side by side (a `loop.Task`). The state holds the states of all searches, with a leading axis of seeds.

  On text, epochs of different seeds differ in their number of steps. A search that has finished its epoch then waits for the others. A
  record holds the means of the metrics over the seeds. Its entry 'seeds' is the list of the records of all searches.

  Attributes:
    tasks: the searches.
    epochs: number of epochs.
  """

  def __init__(self, tasks: Sequence[DartsTask]):
    """Builds the task. All searches but the first must be results of `tasks[0].reseeded`, so that they share its compiled programs."""
    self.tasks, self.epochs, self._ends = tuple(tasks), tasks[0].epochs, [0]

  def init(self) -> State:
    """See `loop.Task`."""
    return _stack([task.init() for task in self.tasks])

  def alone(self, state: State, index: int) -> State:
    """Returns the state of one of the searches."""
    return _take(state, np.int32(index))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    while len(self._ends) <= epoch:
      self._ends.append(self._ends[-1] + max(self._lengths(len(self._ends) - 1)))
    return self._ends[epoch]

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    places, active = self._places(step)
    update_arch = self.tasks[0].updates_arch(places[0])
    # `vmap` runs outside jit: the host puts the step together as in one search, from programs that are compiled for all seeds.
    after, metrics = jax.vmap(lambda state, inputs: self.tasks[0].update(state, inputs, update_arch))(state, self.inputs(state, step))
    return after if active.all() else _chosen(active, after, state), _summarized(metrics, active)

  def inputs(self, state: State, step: int) -> StepInputs:
    """Returns the inputs of a step for all searches, with a leading axis of seeds."""
    given = [_take((state.key, state.carry), np.int32(index)) for index in range(len(self.tasks))]
    places, _ = self._places(step)
    return _stack([task.inputs(key, carry, place) for task, (key, carry), place in zip(self.tasks, given, places, strict=True)])

  def _places(self, step: int) -> tuple[list[int], np.ndarray]:
    """Returns the step number of each search, and a mask, bool [seeds]: true if the search takes this step, false if it waits."""
    epoch = loop.epoch_of(self, step)
    lengths, place = np.array(self._lengths(epoch)), step - self.end_of_epoch(epoch)
    places = [task.end_of_epoch(epoch) + min(place, length - 1) for task, length in zip(self.tasks, lengths.tolist(), strict=True)]
    return places, place < lengths

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, loop.EpochRecord]:
    """See `loop.Task`."""
    states, records, lengths = [], [], self._lengths(epoch - 1)
    for index, task in enumerate(self.tasks):
      prefix, share = f"{index}/", max(lengths) / lengths[index]
      own = {name.removeprefix(prefix): share * value for name, value in means.items() if name.startswith(prefix)}
      after, record = task.end_epoch(self.alone(state, index), epoch, own)
      states.append(after)
      records.append({"epoch": epoch, "step": task.end_of_epoch(epoch), **record})
    metrics = {name: float(np.mean([record["metrics"][name] for record in records])) for name in records[0]["metrics"]}
    return _stack(states), {"metrics": metrics, "seeds": records}

  def history(self, index: int, history: Sequence[loop.HistoryRecord]) -> list[loop.HistoryRecord]:
    """Returns the records of one search, up to the epoch at which it stops early. 'seconds' is the time of all searches together."""
    records: list[Any] = []
    for record in history:
      records.append({"seconds": record["seconds"], **record["seeds"][index]})  # pyright: ignore[reportTypedDictNotRequiredAccess]
      if self.tasks[index].stops(records):
        break
    return records

  def stops(self, history: list[loop.HistoryRecord]) -> bool:
    """Returns whether all searches have stopped early."""
    return all(task.stops(self.history(index, history)) for index, task in enumerate(self.tasks))

  def result(self, index: int, history: Sequence[loop.HistoryRecord]) -> SearchResult:
    """Returns the result of one search. Its cost is the time of all searches together."""
    return self.tasks[index].result(self.history(index, history))

  def _lengths(self, epoch: int) -> list[int]:
    return [task.end_of_epoch(epoch + 1) - task.end_of_epoch(epoch) for task in self.tasks]


@jax.jit
def _chosen(active: jax.Array, after: State, before: State) -> State:
  """Returns the new state of every search that took the step, and the old state of every search that waits."""
  return jax.vmap(lambda go, new, old: jax.tree.map(functools.partial(jnp.where, go), new, old))(active, after, before)


@jax.jit
def _summarized(metrics: Mapping[str, jax.Array], active: jax.Array) -> dict[str, jax.Array]:
  """Returns the mean loss of the searches that took the step, and all metrics of every search as 'INDEX/NAME'."""
  metrics = {name: jnp.where(active, values, 0) for name, values in metrics.items()}
  each = {f"{index}/{name}": values[index] for name, values in metrics.items() for index in range(len(active))}
  return {"loss": metrics["loss"].sum() / active.sum(), **each}


@jax.jit
def _stack(trees: Sequence[Tree]) -> Tree:
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def _take(tree: Tree, index: jax.Array) -> Tree:
  return jax.tree.map(lambda leaf: leaf[index], tree)
