"""Every consumer of randomness has a key of its own: recorded from what searches and trainings draw."""

import collections
import functools
import inspect
import itertools

import jax
import numpy as np
import pytest

import dnas
from dnas.cells.darts_conv import SPACE
from dnas.cells.registries import SPACES
from dnas.core import keys
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.data import base, datasets, text
from dnas.nets import derived_image
from dnas.search.gradient.darts import Config, DartsTask
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.methods.gaea import Gaea
from dnas.search.gradient.methods.pc_darts import EdgeNormalized
from dnas.search.gradient.remedies import Remedies
from dnas.supernet import image_supernet, relaxations
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.train import images, language
from dnas.train.image_pipeline import Pipeline

ROOT = dnas.__path__[0]
DRAWS = ("bernoulli", "bits", "categorical", "choice", "dirichlet", "gamma", "gumbel", "normal", "permutation", "randint", "uniform")
DATA = base.Config("synthetic", examples=16, batch_size=2, crop_padding=1, flip=True, cutout_length=2)
TEXT = text.Config("synthetic_text", tokens=100, batch_size=2, sequence_length=2)
DROPS = dict.fromkeys(("dropout_words", "dropout_embedding", "dropout_inputs", "dropout_hidden", "dropout_output"), 0.3)
MODEL = language.language_model.Config(4, **DROPS)


class Drawn:
  """What was drawn from which key: [(where in the package, raw key)]. Nothing is compiled while it records, so keys have values."""

  def __init__(self, monkeypatch):
    self.draws = []
    for name in DRAWS:
      monkeypatch.setattr(jax.random, name, self._recording(getattr(jax.random, name)))

  def _recording(self, draw):
    def record(key, *args, **kwargs):
      if not isinstance(key, jax.core.Tracer):
        frame = next(frame for frame in inspect.stack(0)[1:] if frame.filename.startswith((ROOT, __file__)) and frame.function != "record")
        raw = jax.random.key_data(key) if jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        self.draws.append((f"{frame.function}:{frame.lineno}", np.asarray(raw).tobytes()))
      with jax.disable_jit(False):
        return draw(key, *args, **kwargs)

    return record

  def take(self):
    taken, self.draws = self.draws, []
    return taken


@pytest.fixture
def drawn(monkeypatch):
  with jax.disable_jit():
    yield Drawn(monkeypatch)


def assert_own_keys(moments):
  """`moments` are the draws before the first step, in each step, and after: within one, passes draw the same masks once more."""
  consumers = collections.defaultdict(set)
  for moment, draws in enumerate(moments):
    for place, key in draws:
      consumers[key].add((moment, place))
  shared = [found for found in consumers.values() if len(found) > 1]
  assert consumers and not shared, shared


class FakeWorkload:
  """Draws what a search on images draws, and computes next to nothing."""

  carry, shared_masks, space = (), True, SPACE
  initial = images.functional.Variables({"weight": np.float32(1)}, {})

  def __init__(self, shared_masks=True):
    self.shared_masks = shared_masks
    dataset = datasets.from_config(DATA)
    order = keys.derive(jax.random.key(0), "order")
    self._train, self._valid = (Pipeline(dataset.train, dataset, DATA, keys.derive(order, half)) for half in range(2))

  def end_of_epoch(self, epoch):
    return 2 * epoch

  def learning_rate_factor(self, step):
    return 1.0

  def batches(self, step, of_batches, carry):
    self._train.shuffled(step, of_batches[0])
    self._valid.drawn(of_batches[1])
    return (np.float32(1),) * 2

  def loss(self, weights, mixture, stats, batch, key):
    mask = jax.random.bernoulli(key, 0.5, (2,))
    loss = sum((values**2).sum() for values in mixture.values()) * weights["weight"] * batch * (1 + mask.sum())
    return loss, (stats, {})

  def after_step(self, carry, outputs):
    return carry, outputs


NOISY = Remedies(skip_dropout=0.5, perturbation="uniform")
SEARCHES = {name: (METHODS[name](), NOISY) for name in METHODS}
SEARCHES |= {
  "no remedy": (METHODS["darts"](), Remedies()),
  "adversary": (METHODS["drnas"](), Remedies(perturbation="adversarial", perturbation_steps=2)),
  "edges on a simplex": (Gaea(4, True), NOISY),
}


@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_search_on_images(name, drawn):
  method, remedy = SEARCHES[name]
  task = DartsTask(Config(epochs=2), FakeWorkload(), HYPERGRADIENTS["first_order"](), jax.random.key(0), method, remedy)
  state = task.init()
  moments = [drawn.take()]
  for step in range(2):
    state, _ = task.step(state, step)
    moments.append(drawn.take())
  task._eigenvalue(state)
  assert_own_keys([*moments, drawn.take()])


def test_masks_that_are_not_shared_differ_from_pass_to_pass(drawn):
  task = DartsTask(Config(epochs=2), FakeWorkload(False), HYPERGRADIENTS["finite_difference"](), jax.random.key(0))
  task.step(task.init(), 0)
  masks = [key for place, key in drawn.take() if place.startswith("loss")]
  assert len(masks) == len(set(masks)) == 5


@pytest.mark.parametrize("name", list(SEARCHES))
def test_cells_operations_and_edges_of_one_pass(name, drawn):
  method, remedy = SEARCHES[name]
  relaxation = remedy.relaxation(method.relaxation(SPACE), SPACE)
  arch = relaxation.init(SPACE, jax.random.key(0), 1.0)
  relaxation(arch, jax.random.key(1), np.float32(0.5))
  NOISY.make_perturbation()(arch, jax.random.key(2), 0.5, None)
  raw = [key for _, key in drawn.take()]
  assert len(raw) == len(set(raw)) >= 2 * len(arch)


def test_initial_edge_weights_are_not_those_of_the_operations():
  arch = EdgeNormalized(relaxations.Relaxation(), SPACE).init(SPACE, jax.random.key(0), 1.0)
  for cell, edges in itertools.product(SPACE.cells, SPACE.cells):
    assert not set(np.ravel(arch[cell]).tolist()) & set(np.ravel(arch[f"{edges} edges"]).tolist())


def test_the_workload_of_images_orders_both_halves_apart(drawn):
  dataset = datasets.from_config(DATA)
  workload = ImageWorkload(image_supernet.Config(2, 3, 1), DATA, SPACES["nasbench201"], dataset, 0)
  moments = [drawn.take()]
  for step in range(2):
    workload.batches(step, tuple(keys.derive(jax.random.key(1), name, step) for name in ("train_batch", "valid_batch")), ())
    moments.append(drawn.take())
  assert_own_keys(moments)


def test_a_search_on_text(drawn):
  dataset = datasets.text_from_config(TEXT)
  workload = LanguageWorkload(MODEL, TEXT, SPACES["darts_recurrent"], dataset, 0)
  key, (train, _) = jax.random.key(0), workload.batches(0, (), workload.carry)
  mixture = {"recurrent": np.full(workload.space.arch_shape(), 0.2, np.float32)}
  workload.loss(workload.initial.weights, mixture, {}, train, key)
  raw = [key for _, key in drawn.take()]
  assert len(raw) == len(set(raw)) == len(DROPS)


def test_a_training_on_images(drawn):
  pools = tuple(tuple(Edge("max_pool_3x3", source) for source in (0, 1)) for _ in range(4))
  genotype = Genotype("darts_conv", tuple((cell, CellGenotype(pools, (2, 3, 4, 5))) for cell in SPACE.cells))
  network = derived_image.Config(channels=4, cells=3, auxiliary=False)
  build = functools.partial(derived_image.DerivedImageNetwork, network, genotype)
  task = images.RetrainTask(images.Config(epochs=2), build, DATA, datasets.from_config(DATA), 0)
  state, moments = task.init(), [drawn.take()]
  for step in range(2):
    batch = task._pipeline.shuffled(step, key := images.step_key(state.key, np.int32(step)))
    images.training_loss(
      state.weights, state.stats, batch, key, task.rates(1), network=task.network, drops=True, auxiliary=False
    )
    moments.append(drawn.take())
  assert_own_keys(moments)
  edges = [key for place, key in moments[-1] if place.startswith("__call__")]
  assert len(edges) == len(set(edges)) == 3 * 2  # equal operations of one state are one stack, with a mask that is drawn once


@pytest.mark.parametrize("consumer", ["weights", "windows", "strategy"])
def test_generators_of_one_seed_are_independent(consumer):
  seen = {keys.generator(seed, consumer, number).integers(2**62) for seed in range(4) for number in range(4)}
  assert len(seen) == 16
  assert not seen & {np.random.default_rng(entropy).integers(2**62) for entropy in [*range(4), (0, 0), (0, 1), (1, 0), (1, 1)]}


def test_names_and_numbers_do_not_meet():
  key = jax.random.key(0)
  raw = [jax.random.key_data(keys.derive(key, part)).tolist() for part in ("a", "b", 0, 1, 2**31 - 1)]
  raw += jax.random.key_data(jax.random.split(key, 3)).tolist()[2:]
  assert len({tuple(each) for each in raw}) == len(raw)
  assert jax.random.key_data(keys.derive(key, "a", 3)).tolist() == jax.random.key_data(keys.derive(keys.derive(key, "a"), 3)).tolist()
