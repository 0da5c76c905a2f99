"""Differentiable searches in a network of a user's own: every method, hypergradient and remedy finds what is known to be best."""

import dataclasses

import jax
import numpy as np
import pytest
from choice_toy import BEST, Toy, arrays, squared_error

from dnas.core.choice_space import ChoiceSpace, Point
from dnas.core.errors import FieldError, InputError
from dnas.data.pairs import Arrays, check_batches
from dnas.launchers._method_config import NetworkSearchConfig
from dnas.run import loop
from dnas.search.gradient import diagnostics
from dnas.search.gradient.darts import Config, DartsTask
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.network_workload import NetworkWorkload
from dnas.search.gradient.projection import decide
from dnas.search.gradient.remedies import Decision, Remedies
from dnas.search.gradient.seeds import SeedsTask
from dnas.supernet.choice_network import SearchableNetwork
from dnas.supernet.discretize import discretize
from dnas.supernet.hypergradients import HYPERGRADIENTS

pytestmark = pytest.mark.usefixtures("quick_compilation")
CONFIG = Config(
  epochs=10, learning_rate=0.1, momentum=0.9, weight_decay=0.0, arch_warmup_epochs=2, arch_learning_rate=0.1, diagnose_every=0
)
RATES = {"gaea": {"arch_learning_rate": 0.5}, "gdas": {"epochs": 20}}
NAMES = [name for name in METHODS if name != "pc_darts"]


@pytest.fixture(scope="module")
def workload():
  return NetworkWorkload(SearchableNetwork(Toy), arrays(), squared_error, 0)


def make_task(workload, method="darts", hypergradient=None, remedy=None, **changes):
  unit = METHODS[method]()
  config = dataclasses.replace(CONFIG, **(RATES.get(method, {}) | changes))
  return DartsTask(config, workload, HYPERGRADIENTS[hypergradient or unit.hypergradient](), jax.random.key(0), unit, remedy)


def search(task):
  return list(loop.run(task, loop.restore(task, None), early_stop=task.stops))


def found(task, records):
  return str(task.result(records).genotype)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_finds_the_best_choices(workload, name):
  task = make_task(workload, name)
  records = search(task)
  assert found(task, records) == BEST
  assert set(records[-1]["mixture"]) == {"shape", "merge"} and np.shape(records[-1]["mixture"]["merge"]) == (1, 3)
  names = {"train/loss", "train/error", "valid/loss", "valid/error", "skips/choices", "entropy/choices", "normalized_entropy"}
  assert names <= set(records[-1]["metrics"])


@pytest.mark.parametrize("name", [name for name in HYPERGRADIENTS if name != "first_order"])
def test_every_hypergradient_finds_them(workload, name):
  slower = {"learning_rate": 0.03, "epochs": 20} if name == "single_level" else {}  # at 0.1 its weights swing
  task = make_task(workload, hypergradient=name, **slower)
  assert found(task, search(task)) == BEST


def test_remedies_go_together(workload):
  remedy = Remedies(skip_dropout=0.3, skip_cap=0, perturbation="adversarial", perturbation_steps=1, projection=True, projection_epochs=1)
  task = make_task(workload, remedy=remedy, epochs=8, diagnose_every=8)
  assert [decision.cell for decision in sorted(task.decisions, key=lambda one: one.cell)] == ["merge", "shape"] and task.epochs == 9
  records = search(task)
  assert found(task, records) == BEST and records[-1]["metrics"]["eigenvalue"] > 0 and "discretized/error" in records[7]["metrics"]
  mixture = {name: np.array(weights) for name, weights in records[-1]["mixture"].items()}
  assert np.count_nonzero(mixture["shape"]) == 1 and np.count_nonzero(mixture["merge"]) == 1


def test_searches_of_several_seeds_equal_those_alone(workload):
  task = make_task(workload, epochs=2, arch_warmup_epochs=0)
  alone = search(task.reseeded(3))
  together = SeedsTask([task, task.reseeded(3)])
  records = list(loop.run(together, loop.restore(together, None)))
  one = records[-1]["seeds"][1]
  np.testing.assert_allclose(one["mixture"]["merge"], alone[-1]["mixture"]["merge"], atol=1e-5)
  assert abs(one["metrics"]["valid/loss"] - alone[-1]["metrics"]["valid/loss"]) < 1e-4


def test_a_projection_keeps_as_many_options_as_the_choice():
  space = ChoiceSpace("mine", (Point("shape", ("a", "b")), Point("merge", ("x", "y", "z"), kept=2)))
  masks = {"shape": np.ones((1, 2), np.float32), "merge": np.ones((1, 3), np.float32)}

  def loss(masks):
    return float((np.array([3.0, 1.0, 2.0]) * (1 - masks["merge"][0])).sum())

  after = decide(Decision("merge", (0,), True), space, masks, loss)
  assert after["merge"].tolist() == [[1, 0, 1]] and after["shape"].all()


def test_a_collapse_is_said_and_capped():
  space = ChoiceSpace("mine", tuple(Point(f"c{i}", ("conv", "skip")) for i in range(3)) + (Point("act", ("relu", "gelu")),))
  assert diagnostics.collapse(space, space.parse("c0=conv,c1=skip,c2=conv,act=relu")) == ""
  collapsed = space.parse("c0=conv,c1=skip,c2=skip,act=relu")
  assert diagnostics.collapse(space, collapsed).startswith("the search has collapsed: 2 of 3 choices are skips")
  mixture = {name: np.array([[0.4, 0.6]]) for name in space.arch_shapes} | {"c1": np.array([[0.45, 0.55]])}
  assert str(discretize(space, mixture)) == "c0=skip,c1=skip,c2=skip,act=gelu"
  assert str(discretize(space, mixture, skip_cap=1)) == "c0=conv,c1=conv,c2=skip,act=gelu"
  with pytest.raises(InputError, match="the choices only can only be skips, and at most 0 may be"):
    discretize(ChoiceSpace("s", (Point("only", ("skip", "identity")),)), {"only": np.ones((1, 2))}, 0)
  with pytest.raises(InputError, match="'act': not all weights"):
    discretize(space, mixture | {"act": np.array([[np.nan, 1]])})


# What has no meaning, and what cannot be used.


REFUSED = {
  "pc_darts.partial_channels is 4; the choices of a network have no partial channels": lambda: NetworkSearchConfig(method="pc_darts"),
  "edge weights are those of the edges of a cell, and space 'network' has no such edges": lambda: METHODS["pc_darts"]().relaxation(
    SearchableNetwork(Toy).space
  ),
  "did you mean 'darts'": lambda: NetworkSearchConfig(method="dart"),
  "seed is -1": lambda: NetworkSearchConfig(seed=-1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_meaning_is_refused(message):
  with pytest.raises((FieldError, InputError)) as e:
    REFUSED[message]()
  assert message in str(e.value)


BAD_LOSSES = {
  "the loss function returns an array of shape (32,); return a scalar": lambda outputs, targets: (outputs - targets) ** 2,
  "returns 'int' beside the loss": lambda outputs, targets: (outputs.sum(), 3),
  "returns the metric 'loss'": lambda outputs, targets: (outputs.sum(), {"loss": outputs.sum()}),
  "returns the metric 'of each' of shape (32,)": lambda outputs, targets: (outputs.sum(), {"of each": outputs}),
  "the loss function returns 'NoneType'; return numbers": lambda outputs, targets: None,
  "the loss function returns 'list'; return numbers": lambda outputs, targets: [outputs.sum()],
  "the loss function returns 'str'; return numbers": lambda outputs, targets: (outputs.sum(), {"accuracy": "x"}),
  "the loss function returns 3 values;": lambda outputs, targets: (outputs.sum(), {}, {}),
  "the loss function does not fit (": lambda outputs: outputs.sum(),
  "the loss is 'int'; give a function of the outputs": 3,
}


@pytest.mark.parametrize("message", BAD_LOSSES)
def test_a_bad_loss_is_refused_before_the_search(message):
  with pytest.raises(InputError) as e:
    NetworkWorkload(SearchableNetwork(Toy), arrays(), BAD_LOSSES[message], 0)
  assert message in str(e.value)


class Uneven(Arrays):
  steps_per_epoch = property(lambda self: 2.5, lambda self, value: None)  # pyright: ignore[reportAssignmentType]


X, Y = np.zeros((10, 3), np.float32), np.zeros(10, np.float32)
BAD_DATA = {
  "train is 'ndarray'; give a pair (inputs, targets)": lambda: Arrays(X),
  "train has arrays of the shapes [(10, 3), (9,)]": lambda: Arrays((X, Y[1:])),
  "valid has arrays of the shapes [(0, 3), (0,)]": lambda: Arrays((X, Y), (X[:0], Y[:0])),
  "batch_size is 8; the sets have 5 and 5 examples": lambda: Arrays((X, Y), batch_size=8),
  "valid_portion is 1.0; give a fraction between 0 and 1": lambda: Arrays((X, Y), valid_portion=1.0),
  "train has numbers that are not finite": lambda: Arrays((X + np.nan, Y), batch_size=2),
  "train has an array of type <U1; give numbers": lambda: Arrays((X, np.array(list("abcdefghij"))), batch_size=2),
  "and JAX keeps them as int32; lower them": lambda: Arrays((X, np.arange(10) + 2**40), batch_size=2),
  "train has numbers that are not finite as float32": lambda: Arrays((X, np.full(10, 1e300)), batch_size=2),
  "steps_per_epoch of the data is 2.5;": lambda: check_batches(Uneven((X, Y), batch_size=2)),
  "data is 'tuple', which gives no batches; give dnas.Arrays": lambda: NetworkWorkload(SearchableNetwork(Toy), (X, Y), lambda x, y: x, 0),
}


@pytest.mark.parametrize("message", BAD_DATA)
def test_bad_data_are_refused(message):
  with pytest.raises(InputError) as e:
    BAD_DATA[message]()
  assert message in str(e.value)


def shifted(key, inputs, targets):
  return inputs + jax.random.uniform(key), targets


def test_an_epoch_visits_every_example_and_batches_depend_on_key_and_step_alone():
  rows = np.arange(20, dtype=np.float32)
  data = Arrays((rows, rows), (rows + 100, rows), batch_size=6, eval_batch_size=8, augment=shifted)
  key = jax.random.key(1)
  epoch = [data.train_batch(key, step) for step in range(4)]
  assert data.steps_per_epoch == 4 and set(np.concatenate([targets for _, targets in epoch])) == set(rows)
  again = data.train_batch(key, 2)
  np.testing.assert_array_equal(again[0], epoch[2][0])
  assert not np.array_equal(data.train_batch(jax.random.key(2), 2)[1], again[1])
  assert not np.array_equal(data.train_batch(key, 6)[1], again[1])  # the next epoch has another order
  shifts = {float((inputs - targets)[0]) for inputs, targets in epoch}
  assert len(shifts) == 4 and all(0 <= shift < 1 for shift in shifts)
  assert min(data.valid_batch(key, 3)[0]) >= 100
  assert [len(inputs) for inputs, _ in data.valid_batches()] == [8, 8, 4]
  halves = Arrays((rows, rows), batch_size=2, valid_portion=0.25)
  assert halves.examples == (15, 5) and halves.digest() == Arrays((rows, rows), batch_size=2, valid_portion=0.25).digest() != data.digest()


def test_the_validation_is_the_mean_over_examples(workload):
  data = arrays(eval_batch_size=24)  # ten of 24 and one of 16
  other = NetworkWorkload(workload.network, data, squared_error, 0)
  mixture = {name: np.full(shape, 1 / shape[1], np.float32) for name, shape in workload.space.arch_shapes.items()}
  for batch_statistics in (False, True):
    one, whole = (work.evaluate(work.initial, mixture, batch_statistics) for work in (other, workload))
    assert one == pytest.approx(whole, rel=1e-5) and set(one) == {"loss", "error"}
