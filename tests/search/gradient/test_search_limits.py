"""A limit on the expected cost: its derivative, its multiplier, and searches that keep to it, on a toy whose operations have costs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import flat
from methods_toy import CONFIG, COSTS, SPACE, STEPS, ToyWorkload, check_resumption, run

from dnas.core.errors import FieldError
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.limits import Config as CostConfig
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.seeds import SeedsTask
from dnas.supernet import bilevel
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.limits import Limit
from dnas.supernet.relaxations import everything

HELD = Limit(COSTS, 60.0, 0.0, 0.03, -math.inf)
RATES = {"gaea": {"arch_learning_rate": 0.5}}


def make_task(name="darts", limit=None, **changes):
  method = METHODS[name]()
  config = dataclasses.replace(CONFIG, **(RATES.get(name, {}) | changes))
  return DartsTask(config, ToyWorkload(), HYPERGRADIENTS[method.hypergradient](), jax.random.key(0), method, limit=limit)


@pytest.mark.parametrize("name", METHODS)
def test_the_derivative_is_that_of_differences(name):
  limit = Limit(COSTS, 100.0, 0.0, 0.1)
  relax = METHODS[name]().relaxation(SPACE)
  arch = dict(relax.init(SPACE, jax.random.key(1), 0.5))
  mask = dict(everything(SPACE))
  mask["normal"] = mask["normal"].copy()
  mask["normal"][0, 1] = 0
  penalized = Limit(COSTS, 100.0, 2.0, 0.0)
  found = penalized.gradient(relax, arch, jnp.float32(2), mask)
  for group, values in arch.items():
    for place in np.ndindex(values.shape):
      above, below = (float(limit.excess(relax, {**arch, group: values.at[place].add(move)}, mask)) for move in (1e-2, -1e-2))
      assert float(found[group][place]) == pytest.approx(2 * (above - below) / 2e-2, abs=2e-3), (group, place)


@pytest.mark.parametrize("name", HYPERGRADIENTS)
def test_every_hypergradient_gets_the_exact_derivative(name):
  limit, arch = Limit(COSTS, 100.0, 3.0, 0.0), {"normal": jnp.linspace(-1, 1, 12).reshape(3, 4)}
  after = []
  for given in (limit, None):
    method = METHODS["darts"]()
    task = DartsTask(CONFIG, ToyWorkload(), HYPERGRADIENTS[name](), jax.random.key(0), method, limit=given)
    choices = dataclasses.replace(task.problem.method, arch_optimizer=optax.sgd(1.0))
    problem = dataclasses.replace(task.problem, method=choices)
    state = dataclasses.replace(task.init().search, arch=arch, arch_state=choices.arch_optimizer.init(arch))
    after.append(problem.step(state, np.float32(0.1), np.float32(0.1), jax.random.key(2), op_mask=everything(SPACE))[0].arch)
  expected = limit.gradient(bilevel.Relaxation(), arch, jnp.float32(3), everything(SPACE))
  np.testing.assert_allclose(flat(after[1]) - flat(after[0]), flat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "target"), [("darts", 60.0), ("darts", 120.0), ("gaea", 120.0), ("drnas", 120.0)])
def test_a_search_ends_at_its_target(name, target):
  records, _ = run(make_task(name, dataclasses.replace(HELD, scale=target)))
  last = records[-1]["metrics"]
  assert last["cost/expected"] == pytest.approx(target, rel=0.05)
  assert last["cost/discrete"] in {10.0 + 5 * a + 20 * b + 100 * c for a in range(4) for b in range(4) for c in range(4)}


def test_without_a_limit_the_search_costs_more_and_the_state_has_no_multiplier():
  task = make_task()
  records, position = run(task)
  assert not any(name.startswith("cost/") for name in records[-1]["metrics"])
  assert float(COSTS.expected(task.mixture(position.state))) > 200
  assert position.state.search.multiplier is None
  loose, _ = run(make_task(limit=Limit(COSTS, 310.0, 0.0, 0.03)))  # an upper bound that is never reached
  assert loose[-1]["metrics"]["cost/multiplier"] == 0 and loose[-1]["genotype"] == records[-1]["genotype"]


def test_a_search_that_would_be_cheaper_is_held_at_its_target_or_left_alone():
  toy = ToyWorkload(skip=3.0)  # skip connections are best
  found = []
  for least in (-math.inf, 0.0):
    limit = Limit(COSTS, 120.0, 0.0, 0.03, least)
    found.append(run(DartsTask(CONFIG, toy, HYPERGRADIENTS["first_order"](), jax.random.key(0), limit=limit))[0][-1]["metrics"])
  assert found[0]["cost/expected"] == pytest.approx(120, rel=0.05) and found[0]["cost/multiplier"] < 0
  assert found[1]["cost/expected"] < 60 and found[1]["cost/multiplier"] == 0


def test_a_weight_alone_stays_as_it_is_and_makes_cheaper():
  spent = []
  for weight in (0.1, 1.0, 10.0):
    last = run(make_task(limit=Limit(COSTS, 100.0, weight, 0.0)))[0][-1]["metrics"]
    assert last["cost/multiplier"] == pytest.approx(weight)
    spent.append(last["cost/expected"])
  assert spent[0] > spent[1] > spent[2]


def test_the_multiplier_stands_still_in_the_warm_up():
  task = make_task(limit=Limit(COSTS, 50.0, 0.0, 0.03), arch_warmup_epochs=1)
  state = task.init()
  for step in range(STEPS + 1):
    assert float(state.search.multiplier) == 0
    state, _ = task.step(state, step)
  assert float(state.search.multiplier) > 0


def test_a_limited_search_resumes_to_the_same_bits(tmp_path):
  task = make_task(limit=Limit(COSTS, 60.0, 0.0, 0.03), epochs=3)
  before = check_resumption(task, tmp_path)
  assert float(before.search.multiplier) > 0


def test_searches_side_by_side_have_multipliers_of_their_own():
  task = make_task(limit=Limit(COSTS, 60.0, 0.0, 0.03), epochs=2)
  second = make_task(limit=task.problem.limit, epochs=2)
  second._key, second.problem, second._mean = jax.random.key(7), task.problem, task._mean
  together, _ = run(SeedsTask([task, second]))
  alone = [run(one)[0] for one in (task, second)]
  for index, records in enumerate(alone):
    found = together[-1]["seeds"][index]["metrics"]
    assert found["cost/multiplier"] == pytest.approx(records[-1]["metrics"]["cost/multiplier"], rel=1e-4)
    assert found["cost/expected"] == pytest.approx(records[-1]["metrics"]["cost/expected"], rel=1e-4)


@pytest.mark.parametrize(
  ("settings", "said"),
  [
    ({"target": -1.0}, "target is -1.0; it must be zero or more"),
    ({"rate": 0.0, "target": 1.0}, "rate is 0.0; it must be above zero"),
    ({"of": "weight"}, "of is weight; did you mean 'weights'"),
    ({"target": 1.0, "weight": 1.0}, "weight is 1.0; a target finds the coefficient itself"),
    ({"target": 1.0, "of": "latency"}, "table is empty; a latency needs a table"),
  ],
)
def test_bad_settings(settings, said):
  with pytest.raises(FieldError, match=said):
    CostConfig(**settings)


def test_idle_settings():
  assert CostConfig().idle("rate") and CostConfig(weight=1.0).idle("rate") and not CostConfig(target=1.0).idle("rate")
  assert CostConfig(target=1.0).idle("table") and not CostConfig(target=1.0, of="latency", table="x").idle("table")
