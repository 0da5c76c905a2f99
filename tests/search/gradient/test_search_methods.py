"""Differentiable methods and the remedies against collapse, on a toy whose best operations are known."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from methods_toy import CONFIG, SPACE, STEPS, ToyWorkload

from dnas.core.errors import FieldError
from dnas.core.space import CellSpace
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient import diagnostics, remedies
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.projection import decide
from dnas.search.gradient.remedies import Decision, Remedies
from dnas.supernet import relaxations
from dnas.supernet.hypergradients import HYPERGRADIENTS

RATES = {"gaea": {"arch_learning_rate": 0.5}, "gdas": {"epochs": 20}, "fair_darts": {"arch_learning_rate": 0.2}}
"""What the toy wants otherwise: the exponentiated gradient is another step, and one sample a step needs more of them."""
BEST = ("good", "good", "good")
SKIPS = ("skip_connect",) * 3


def make_task(name="darts", remedy=None, toy=None, **changes):
  method = METHODS[name]()
  config = dataclasses.replace(CONFIG, **(RATES.get(name, {}) | changes))
  return DartsTask(config, toy or ToyWorkload(), HYPERGRADIENTS[method.hypergradient](), jax.random.key(0), method, remedy)


def search(task, seed, skip_bias=0.0):
  """Runs a search and returns its records; with a bias, the architecture begins with skip connections ahead."""
  task._key = jax.random.key(seed)  # another search by the same compiled programs
  position = loop.restore(task, None)
  if skip_bias:
    arch = {cell: values.at[:, 0].add(skip_bias) for cell, values in position.state.search.arch.items()}
    position.state = dataclasses.replace(position.state, search=dataclasses.replace(position.state.search, arch=arch))
  return list(loop.run(task, position, early_stop=task.stops))


def found(task, records):
  """The operations of what a search ended in."""
  return tuple(edge.operation for node in task.result(records).genotype["normal"].nodes for edge in node)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_finds_the_best_operations_for_every_seed(name):
  task = make_task(name)
  for seed in range(5):
    records = search(task, seed)
    assert found(task, records) == BEST, seed
    undecided = diagnostics.undecided(task.result(records).metrics)
    assert bool(undecided) == (name == "fair_darts"), "whose sigmoids all fall to zero here: the best has 0.009 and the others 0.006"


@pytest.mark.parametrize("name", list(METHODS))
def test_a_search_that_moves_its_architecture_too_little_says_so(name):
  task = make_task(name, arch_learning_rate=1e-4, epochs=2)
  result = task.result(search(task, 0))
  assert 0.99 < result.metrics["normalized_entropy"] <= 1 + 1e-9 and result.metrics["entropy/normal"] == pytest.approx(np.log(4), rel=0.01)
  warning = diagnostics.undecided(result.metrics)
  assert warning.startswith("the search decided little: the entropy") and "a higher darts.arch_learning_rate" in warning


# Remedies against collapse, each on a toy where plain DARTS collapses.


REMEDIES = {
  "warm-up": (None, {"arch_warmup_epochs": 5}),
  "skip dropout": (Remedies(skip_dropout=0.97), {}),
  "skip cap": (Remedies(skip_cap=0), {}),
  "random smoothing": (Remedies(perturbation="uniform", perturbation_radius=12.0), {}),
  "adversary": (Remedies(perturbation="adversarial", perturbation_radius=3.0), {}),
}


@pytest.fixture(scope="module")
def collapsing():
  return make_task(toy=ToyWorkload(skip=0.9))


@pytest.mark.parametrize("seed", range(2))
def test_plain_darts_collapses_where_a_skip_connection_is_good_at_once(collapsing, seed):
  records = search(collapsing, seed)
  assert found(collapsing, records) == SKIPS and records[-1]["metrics"]["skips/normal"] == 3
  genotype = SPACE.parse(records[-1]["genotype"])
  assert diagnostics.collapse(SPACE, genotype).startswith("the search has collapsed: 3 of 3 edges of the normal cell are skip connections")


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_prevents_it(name):
  remedy, changes = REMEDIES[name]
  task = make_task(remedy=remedy, toy=ToyWorkload(skip=0.9), **changes)
  for seed in range(2):
    assert found(task, search(task, seed)) == BEST, seed


def test_the_search_stops_early_where_the_eigenvalue_rises_before_a_late_collapse():
  toy = ToyWorkload(late=3.0, steps=20 * STEPS)
  plain = make_task(toy=toy, epochs=20, diagnose_every=1)
  records = search(plain, 0)
  assert len(records) == 20 and found(plain, records) == SKIPS and not plain.stops(records)
  task = make_task(toy=toy, epochs=20, diagnose_every=1, remedy=Remedies(stop_ratio=0.75, stop_window=3))
  early = search(task, 0)
  assert 6 <= len(early) < 20 and task.stops(early) and found(task, early) == BEST
  assert task.result(early).metrics == early[-4]["metrics"]  # three diagnoses before the last
  assert [record["genotype"] for record in early] == [record["genotype"] for record in records[: len(early)]]


def test_a_projection_goes_by_what_operations_are_worth_and_not_by_their_weights():
  biased = {"toy": ToyWorkload(skip=0.5), "arch_learning_rate": 1e-6, "epochs": 4}
  plain, task = make_task(**biased), make_task(remedy=Remedies(projection=True, projection_epochs=2), **biased)
  assert found(plain, search(plain, 0, skip_bias=0.7)) == SKIPS
  records = search(task, 0, skip_bias=0.7)
  assert len(records) == task.epochs == 4 + 2 * 2 and found(task, records) == BEST
  decided = [(np.array(record["mixture"]["normal"]) > 0.999).any(1).sum() for record in records]
  assert decided == [0, 0, 0, 1, 1, 2, 2, 3]
  assert [record["metrics"].get("decisions", 0) for record in records] == decided


def test_a_projection_alone_decides_where_the_warm_up_lasts_to_the_end():
  task = make_task(toy=ToyWorkload(skip=0.5), epochs=4, arch_warmup_epochs=4, remedy=Remedies(projection=True, projection_epochs=2))
  first = np.asarray(task.init().search.arch["normal"])
  position = loop.restore(task, None)
  records = list(loop.run(task, position))
  assert (np.asarray(position.state.search.arch["normal"]) == first).all() and found(task, records) == BEST
  entropies = [record["metrics"]["normalized_entropy"] for record in records]
  assert entropies[:3] == [pytest.approx(1, abs=1e-5)] * 3 and entropies == sorted(entropies, reverse=True) and entropies[-1] == 0


def test_a_projection_resumes_to_the_same_bits(tmp_path):
  task = make_task(remedy=Remedies(projection=True, projection_epochs=1), epochs=2)
  whole = loop.restore(task, None)
  records = list(loop.run(task, whole))
  with Checkpoints(tmp_path, 2) as checkpoints:
    runner = loop.run(task, loop.restore(task, None), checkpoints)
    next(runner), next(runner), next(runner), runner.close()
    checkpoints.wait()
    position = loop.restore(task, checkpoints)
    assert position.step == 3 * STEPS and (np.asarray(position.state.op_mask["normal"]).sum() < 12)
    list(loop.run(task, position))
  assert [{**r, "seconds": 0} for r in position.history] == [{**r, "seconds": 0} for r in records]
  leaves = zip(jax.tree.leaves(position.state), jax.tree.leaves(whole.state), strict=True)
  assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)


def test_the_architecture_stands_still_in_the_warm_up():
  task = make_task(arch_warmup_epochs=1)
  state = task.init()
  first = state.search.arch["normal"]
  for step in range(STEPS + 1):
    before, (state, metrics) = state, task.step(state, step)
    assert ("valid_loss" in metrics) == (step == STEPS)
    assert (before.search.weights["trained"] != state.search.weights["trained"]).any()
    assert (np.asarray(state.search.arch["normal"]) == np.asarray(first)).all() == (step < STEPS)


# The pieces.


def test_the_rule_of_the_early_stop():
  rising = np.array([1.0, 1, 1, 2, 2, 2])
  assert remedies.stops(rising, 0.75, 3) and not remedies.stops(rising, 0.49, 3)  # 1 / 2
  assert not remedies.stops(rising, 0.0, 3) and not remedies.stops(rising[:5], 0.75, 3) and not remedies.stops(rising[::-1], 0.75, 3)


def test_the_decisions_of_a_projection():
  space = CellSpace("wide", ("normal", "reduce"), ("none", "conv", "skip_connect"))
  every = remedies.decisions(space, 0)
  edges, nodes = every[:28], every[28:]
  assert {(one.cell, one.rows[0]) for one in edges} == {(cell, row) for cell in space.cells for row in range(14)}
  assert all(one.operation and len(one.rows) == 1 for one in edges) and not any(one.operation for one in nodes)
  assert {(one.cell, one.rows) for one in nodes} == {
    (cell, rows) for cell in space.cells for rows in ((2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12, 13))
  }
  assert every != remedies.decisions(space, 1) and every == remedies.decisions(space, 0)


def test_decisions_keep_what_costs_most_to_lose():
  space = CellSpace("wide", ("normal",), ("none", "conv", "skip_connect"), num_nodes=2)
  worth = np.array([[0, 3, 1], [0, 1, 2], [0, 5, 9], [0, 1, 1], [0, 2, 3]])
  masks = relaxations.everything(space)

  def loss(masks):
    return -float((worth * masks["normal"]).max(1).sum())

  after = decide(Decision("normal", (0,), True), space, masks, loss)
  assert after["normal"].tolist() == [[0, 1, 0], *[[1, 1, 1]] * 4] and masks["normal"].all()
  after = decide(Decision("normal", (2, 3, 4), False), space, after, loss)
  assert after["normal"][2:].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_the_dominant_eigenvalue_of_a_quadratic():
  rng = np.random.default_rng(0)
  basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
  for values in ([5.0, 1, 0.5, 0.1, 0, -1], [-4.0, 1, 0.5, 0.1, 0, -1]):
    hessian = (basis * values) @ basis.T

    def gradient(arch, hessian=hessian):
      flat = hessian @ np.concatenate([np.asarray(arch[name]).ravel() for name in ("a", "b")]) + 3
      return {"a": jnp.float32(flat[:4].reshape(2, 2)), "b": jnp.float32(flat[4:].reshape(1, 2))}

    arch = {"a": jnp.ones((2, 2)), "b": jnp.zeros((1, 2))}
    found = diagnostics.dominant_eigenvalue(gradient, arch, jax.random.key(1), iterations=12)
    assert found == pytest.approx(abs(values[0]), rel=1e-3)


def test_diagnoses_of_a_mixture():
  mixture = {"normal": np.array([[0.25] * 4, [0, 0, 1, 0], [0, 0, 0, 0]])}
  genotype = SPACE.decode((0, 0, 2))
  out = diagnostics.of_mixture(SPACE, genotype, mixture, relaxations.everything(SPACE))
  assert out == {"skips/normal": 2.0, "entropy/normal": pytest.approx(np.log(4) / 3), "normalized_entropy": pytest.approx(1 / 3)}
  one_hot = {"normal": np.float32(0.3) * np.eye(4, dtype=np.float32)[[0, 1, 2]]}
  chosen = diagnostics.of_mixture(SPACE, genotype, one_hot, relaxations.everything(SPACE))
  for name in ("entropy/normal", "normalized_entropy"):
    assert chosen[name] == 0 and not np.signbit(chosen[name])
  allowed = {"normal": np.float32([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])}
  uniform = {"normal": np.float32([[0.2, 0.2, 0, 0], [0, 0.7, 0, 0], [0, 0, 0, 0]])}  # of what is left, times weights of the edges
  left = diagnostics.of_mixture(SPACE, genotype, uniform, allowed)
  assert left["normalized_entropy"] == pytest.approx(1 / 3) and left["entropy/normal"] == pytest.approx(np.log(2) / 3)
  for share, says in ((0.9, False), (0.91, True)):
    assert bool(diagnostics.undecided({"normalized_entropy": share})) == says
  assert "2 of 3 edges" in diagnostics.collapse(SPACE, genotype) and not diagnostics.collapse(SPACE, SPACE.decode((0, 2, 2)))


@pytest.mark.parametrize(
  "remedy, changes, sentence",
  [
    ({"stop_ratio": 0.75}, {"diagnose_every": 5}, "remedies.stop_ratio is 0.75; it needs 10 diagnoses and the search has 2; lower"),
    ({"projection": True}, {"final_learning_rate": 0.0}, "darts.final_learning_rate is 0.0; the epochs between the decisions"),
  ],
)
def test_remedies_that_do_not_fit_the_search_are_refused(remedy, changes, sentence):
  with pytest.raises(FieldError, match=re.escape(sentence)):
    make_task(remedy=Remedies(**remedy), **changes)
  sentence = "arch_warmup_epochs is 10; the architecture must train after the warm-up, so give less than darts.epochs, 10; only a search"
  for decides in (None, Remedies(projection=True, sharpening=1.0)):
    with pytest.raises(FieldError, match=sentence):
      make_task(arch_warmup_epochs=10, remedy=decides)
  with pytest.raises(FieldError, match="arch_warmup_epochs is 11; the warm-up is a part of the epochs, so give at most darts.epochs, 10"):
    make_task(arch_warmup_epochs=11)
