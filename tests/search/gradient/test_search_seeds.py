"""Several searches in one program against the same searches one by one, on text and on images."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from dnas.cells.darts_recurrent import SPACE
from dnas.cells.language_model import Config as NetworkConfig
from dnas.cells.registries import SPACES
from dnas.core.records import SearchResult
from dnas.data import base, datasets, text
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient.darts import Config, DartsTask
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.search.gradient.remedies import Remedies
from dnas.search.gradient.seeds import SeedsTask
from dnas.supernet import image_supernet
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder

pytestmark = pytest.mark.usefixtures("quick_compilation")
DATA = text.Config("synthetic_text", tokens=400, batch_size=8, sequence_length=6, length_deviation=1.0, buckets=1)
CONFIG = Config(epochs=2, learning_rate=1.0, momentum=0.0, gradient_clip=0.25, arch_learning_rate=0.05, arch_warmup_epochs=1)
SEEDS = 3, 4, 5


@functools.cache
def text_task(seed, hypergradient=FirstOrder()):  # noqa: B008, since it is a constant
  network, space = NetworkConfig(6, dropout_inputs=0.3, dropout_output=0.3), dataclasses.replace(SPACE, num_nodes=2)
  workload = LanguageWorkload(network, DATA, space, datasets.text_from_config(DATA), seed=seed)
  return DartsTask(CONFIG, workload, hypergradient, jax.random.key(seed))


@functools.cache
def together(hypergradient=FirstOrder()):  # noqa: B008
  first = text_task(SEEDS[0], hypergradient)
  return SeedsTask([first, *map(first.reseeded, SEEDS[1:])])


def whole_run(task, *args, **kwargs):
  position = loop.restore(task, *(args or (None,)))
  list(loop.run(task, position, *args, **kwargs))
  return position


@functools.cache
def complete():
  return whole_run(together())


def close(ours, theirs, atol=1e-5):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=atol)


def test_searches_on_text_are_those_of_their_seeds_alone():
  position = complete()
  lengths = {tuple(np.diff([text_task(seed).end_of_epoch(epoch) for epoch in range(3)])) for seed in SEEDS}
  assert len(lengths) > 1  # so some wait for others
  for index, seed in enumerate(SEEDS):
    alone = whole_run(text_task(seed))
    close(together().alone(position.state, index), alone.state, atol=3e-4)  # after all steps of two epochs
    ours = together().history(index, position.history)
    assert [(record["epoch"], record["step"]) for record in ours] == [(record["epoch"], record["step"]) for record in alone.history]
    for one, other in zip(ours, alone.history, strict=True):
      close(one["metrics"], other["metrics"], atol=1e-3)
      close(one["mixture"], other["mixture"])
    result = together().result(index, position.history)
    assert isinstance(result, SearchResult) and result.genotype.to_json() == ours[-1]["genotype"]


def test_metrics_are_means_over_the_seeds():
  for record in complete().history:
    for name, value in record["metrics"].items():
      assert value == pytest.approx(np.mean([one["metrics"][name] for one in record["seeds"]]))
  assert len({record["metrics"]["train/loss"] for record in complete().history[0]["seeds"]}) == len(SEEDS)


def test_the_searches_resume_in_the_middle_of_an_epoch_to_the_same_bits(tmp_path):
  class Killed(Exception):
    pass

  def kill(step, _):
    if step == 5:
      raise Killed

  with Checkpoints(tmp_path / "checkpoints") as checkpoints, pytest.raises(Killed):
    whole_run(together(), checkpoints, save_every_steps=2, on_step=kill)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    position = loop.restore(together(), checkpoints)
    assert 0 < position.step < together().end_of_epoch(1)
    list(loop.run(together(), position, checkpoints))
  for one, other in zip(jax.tree.leaves(position.state), jax.tree.leaves(complete().state), strict=True):
    np.testing.assert_array_equal(one, other)


def test_nothing_compiles_after_the_second_epoch_began(compilations):
  task = together()
  state = complete().state
  with compilations() as compiled:
    task.step(state, task.end_of_epoch(1))
  assert compiled == []


def test_a_second_order_step_on_text():
  task, state = together(FiniteDifference()), complete().state
  step = task.end_of_epoch(1)  # after the warm-up, so the architecture moves
  after, metrics = task.step(state, step)
  for index, seed in enumerate(SEEDS):
    alone, own = text_task(seed, FiniteDifference()).step(task.alone(state, index), text_task(seed).end_of_epoch(1))
    # The finite difference divides rounding by its radius.
    close(task.alone(after, index).search.arch, alone.search.arch, atol=2e-3)
    assert float(metrics[f"{index}/loss"]) == pytest.approx(float(own["loss"]), rel=1e-5)


def test_a_step_on_images():
  space, dataset = SPACES["nasbench201"].without(["nor_conv_1x1", "avg_pool_3x3"]), datasets.load("synthetic")

  def make(seed):
    config = image_supernet.Config(channels=2, cells=3, stem_multiplier=1)
    workload = ImageWorkload(config, base.Config(batch_size=8), space, dataset, seed=seed)
    return DartsTask(Config(epochs=2), workload, FirstOrder(), jax.random.key(seed))

  first, other = make(7), make(8)
  task = SeedsTask([first, first.reseeded(8)])
  assert all(map(np.array_equal, *map(jax.tree.leaves, (task.tasks[1].init(), other.init()))))
  batches = [one.inputs(other.init().key, (), 3)[:2] for one in (task.tasks[1], other, first)]
  assert all(map(np.array_equal, *map(jax.tree.leaves, batches[:2]))) and not np.array_equal(batches[0][0][1], batches[2][0][1])
  state, metrics = task.step(task.init(), 0)
  for index, single in enumerate(task.tasks):
    alone, own = single.step(single.init(), 0)
    close(task.alone(state, index).search, alone.search)
    assert float(metrics[f"{index}/loss"]) == pytest.approx(float(own["loss"]), rel=1e-5)


def test_each_search_stops_for_itself():
  first = DartsTask(
    dataclasses.replace(CONFIG, epochs=6, arch_warmup_epochs=0, diagnose_every=1),
    text_task(3).workload,
    FirstOrder(),
    jax.random.key(3),
    remedy=Remedies(stop_ratio=0.75, stop_window=2),
  )
  task = SeedsTask([first, first.reseeded(4)])
  eigenvalues = [(1, 1), (1, 1), (1, 9), (1, 9), (9, 9), (9, 9)]
  history = [
    {"seconds": 1.0, "metrics": {}, "seeds": [{"epoch": epoch, "metrics": {"eigenvalue": float(value)}} for value in pair]}
    for epoch, pair in enumerate(eigenvalues, 1)
  ]
  lengths = [[len(task.history(index, history[:count])) for index in range(2)] for count in range(1, 7)]
  ends = [next(count for count in range(1, 7) if task.tasks[index].stops(task.history(index, history[:count]))) for index in range(2)]
  assert ends[1] < ends[0] <= 6
  assert lengths == [[min(count, end) for end in ends] for count in range(1, 7)]
  assert [task.stops(history[:count]) for count in range(1, 7)] == [count >= max(ends) for count in range(1, 7)]
