"""Sharpening: the derivative of the entropy, and searches that decide, alone and beside a limit of the cost."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from helpers import flat
from methods_toy import CONFIG, COSTS, SPACE, ToyWorkload, check_resumption, run

from dnas.core.errors import FieldError
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.diagnostics import of_mixture
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.remedies import Remedies
from dnas.supernet import bilevel
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.limits import Limit
from dnas.supernet.relaxations import everything, restrict, to_numpy
from dnas.supernet.sharpening import Sharpening


def make_task(sharpening, name="darts", limit=None, **changes):
  config = dataclasses.replace(CONFIG, **changes)
  remedies = Remedies(sharpening=sharpening)
  return DartsTask(config, ToyWorkload(), HYPERGRADIENTS["first_order"](), jax.random.key(0), METHODS[name](), remedies, limit=limit)


def masks():
  mask = {cell: values.copy() for cell, values in everything(SPACE).items()}
  mask["normal"][0, 1] = 0
  return mask


def test_the_entropy_is_the_mean_of_the_edges_without_what_is_ruled_out():
  weights = np.array([[0.5, 0.0, 0.5, 0.0], [0.25] * 4, [1.0, 0.0, 0.0, 0.0]])
  logits = {"normal": np.log(np.maximum(weights, 1e-30)).astype(np.float32)}
  sharpening = Sharpening(1.0)
  assert float(sharpening.entropy(bilevel.Relaxation(), logits)) == pytest.approx((math.log(2) + math.log(4)) / 3, abs=1e-6)
  uniform = {"normal": np.zeros((3, 4), np.float32)}
  assert float(sharpening.entropy(bilevel.Relaxation(), uniform, masks())) == pytest.approx((math.log(3) + 2 * math.log(4)) / 3, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_derivative_is_that_of_differences(name):
  relax, sharpening, mask = METHODS[name]().relaxation(SPACE), Sharpening(3.0), masks()
  arch = dict(relax.init(SPACE, jax.random.key(1), 0.5))
  found = sharpening.gradient(relax, arch, np.float32(0.5), mask)
  for group, values in arch.items():
    for place in np.ndindex(values.shape):
      above, below = (float(sharpening.entropy(relax, {**arch, group: values.at[place].add(move)}, mask)) for move in (1e-2, -1e-2))
      assert float(found[group][place]) == pytest.approx(1.5 * (above - below) / 2e-2, abs=2e-3), (group, place)
  mixture = to_numpy(restrict(relax.mean(relax.restricted(arch, mask)), mask))
  entropy = of_mixture(SPACE, SPACE.sample(np.random.default_rng(0)), mixture, mask)
  assert float(sharpening.entropy(relax, arch, mask)) == pytest.approx(entropy["entropy/normal"], abs=1e-5)


def test_decided_mixtures_have_finite_derivatives():
  decided = np.eye(4, dtype=np.float32)[:3]
  for relax, arch in ((METHODS["gaea"]().relaxation(SPACE), decided), (bilevel.Relaxation(), 1e4 * decided)):
    assert np.isfinite(flat(Sharpening(5.0).gradient(relax, {"normal": arch}, np.float32(1), masks()))).all()


@pytest.mark.parametrize(("name", "sharpening"), [("darts", 5.0), ("gaea", 5.0), ("drnas", 5.0)])
def test_a_sharpened_search_decides(name, sharpening):
  rates = {"gaea": {"arch_learning_rate": 0.5}}.get(name, {})
  soft, sharp = (run(make_task(weight, name, **rates))[0][-1]["metrics"]["normalized_entropy"] for weight in (0.0, sharpening))
  assert sharp < 0.1 and sharp < soft


def test_a_sharpened_mixture_costs_what_its_discrete_network_costs():
  limit = Limit(COSTS, 130.0, 0.0, 0.03, -math.inf)
  soft, sharp = (run(make_task(weight, limit=limit))[0][-1]["metrics"] for weight in (0.0, 2.0))
  gaps = [abs(one["cost/discrete"] - one["cost/expected"]) for one in (soft, sharp)]
  assert gaps[0] > 50 and gaps[1] < 1 and sharp["cost/expected"] == pytest.approx(130, rel=0.2)


def test_a_sharpened_search_resumes_to_the_same_bits(tmp_path):
  check_resumption(make_task(2.0, epochs=3), tmp_path)


def test_bad_settings():
  for value, said in ((-1.0, "sharpening is -1.0; it must be zero or more"), (1e7, "sharpening is 10000000.0; it must be at most 1e[+]06")):
    with pytest.raises(FieldError, match=said):
      Remedies(sharpening=value)
  assert Remedies().make_sharpening() is None and Remedies(sharpening=2.0).make_sharpening() == Sharpening(2.0)
