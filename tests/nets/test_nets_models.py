"""Human-designed image networks: published sizes, initial weights, and one battery for every registered model."""

import dataclasses

import jax
import numpy as np
import pytest

from dnas.cells import functional
from dnas.compiler import functions
from dnas.core import tree
from dnas.core.errors import FieldError, InputError
from dnas.data.digits import digits as load
from dnas.nets.models import IMAGE_MODELS, LANGUAGE_MODELS
from dnas.nets.models.pyramidnet import PyramidNet
from dnas.nets.models.resnet import ResNet
from dnas.nets.models.wide_resnet import WideResNet
from dnas.train.metrics import cross_entropy

KEYS = jax.random.key(0), jax.random.key(1)


def sizes(settings):
  """The numbers of weights of the convolutions and the classifier, and of the batch normalizations."""
  weights = functional.split(settings.build((32, 32, 3), 10, Zeros()))[1].weights
  named = jax.tree_util.tree_leaves_with_path(weights)
  norms = sum(leaf.size for path, leaf in named if "norm" in jax.tree_util.keystr(path))
  return tree.size(weights) - norms, norms


class Zeros:
  """A generator that draws zeros, so that networks of published size are made in a moment."""

  def normal(self, mean, deviation, shape):
    return np.zeros(shape)

  def uniform(self, low, high, shape):
    return np.zeros(shape)


def of_resnet(n):
  convolutions = 9 * (3 * 16 + 2 * n * 16 * 16) + 9 * (16 * 32 + (2 * n - 1) * 32 * 32) + 9 * (32 * 64 + (2 * n - 1) * 64 * 64)
  return convolutions + 64 * 10 + 10, 2 * (16 + 2 * n * (16 + 32 + 64))


def of_wide_resnet(n, k):
  widths, convolutions, norms = [16, 16 * k, 32 * k, 64 * k], 9 * 3 * 16, 0
  for before, width in zip(widths, widths[1:], strict=False):
    convolutions += 9 * before * width + 9 * (2 * n - 1) * width**2 + before * width
    norms += 2 * (before + (2 * n - 1) * width)
  return convolutions + 640 * k + 10, norms + 2 * 64 * k


@pytest.mark.parametrize("n, total", [(3, 269_722), (18, 1_727_962)])
def test_sizes_of_resnet(n, total):
  assert sizes(ResNet(6 * n + 2)) == of_resnet(n) and sum(of_resnet(n)) == total


def test_size_of_wide_resnet_28_10():
  assert sizes(WideResNet()) == of_wide_resnet(4, 10) and sum(of_wide_resnet(4, 10)) == 36_479_194


@pytest.mark.parametrize(
  "settings, total",
  [
    (PyramidNet(), 26_210_842),
    (PyramidNet(depth=200, alpha=240), 26_752_702),
    (PyramidNet(depth=236, alpha=220), 26_969_046),
    (PyramidNet(depth=110, alpha=48, bottleneck=False), 1_772_706),
  ],
)
def test_sizes_of_pyramidnet(settings, total):
  assert sum(sizes(settings)) == total


def test_widths_of_pyramidnet_are_the_published_ones():
  widths = PyramidNet().widths()
  assert widths[:4] == [18, 20, 23, 25] and [widths[index] for index in (29, 59, 89)] == [83, 149, 216]


def test_initial_kernels_have_the_published_deviation():
  shape, rng = (32, 32, 3), np.random.default_rng(0)
  resnet, wide = ResNet(8, 32).build(shape, 10, rng).blocks[1], WideResNet(10, 4).build(shape, 10, rng).blocks[1]
  pyramid = PyramidNet(depth=11, alpha=96).build(shape, 10, rng).blocks[1]
  for kernel, fan in [(resnet.conv1.kernel, 9 * 32), (wide.conv1.kernel, 9 * 128), (wide.shortcut.kernel, 128)]:
    assert np.std(kernel[...]) == pytest.approx((2 / fan) ** 0.5, rel=0.03)
  for conv, fan in zip(pyramid.convs, (80, 9 * 80, 4 * 80), strict=True):
    assert np.std(conv.kernel[...]) == pytest.approx((2 / fan) ** 0.5, rel=0.03)


@pytest.fixture(scope="module")
def digits():
  split = load("").train
  return split.images[:8].astype(np.float32) / 255 - 0.5, split.labels[:8]


@pytest.fixture(scope="module", params=list(IMAGE_MODELS))
def trained(request, digits):
  """A registered model at its smallest size: the network, its arrays, and a compiled step of gradient descent."""
  images, labels = digits
  network, variables = functional.split(IMAGE_MODELS[request.param].smallest().build(images.shape[1:], 10, np.random.default_rng(0)))

  def loss(weights, stats, key):
    (logits, auxiliary), stats = functional.apply(network, functional.Variables(weights, stats), images, train=True, key=key)
    losses = [cross_entropy(each, labels).mean() for each in (logits, auxiliary) if each is not None]
    return sum(losses), (stats, logits)

  @jax.jit
  def step(variables, key):
    (value, (stats, logits)), gradient = jax.value_and_grad(loss, has_aux=True)(variables.weights, variables.stats, key)
    weights = jax.tree.map(lambda w, g: w - 0.01 * g, variables.weights, gradient)
    return value, logits, gradient, functional.Variables(weights, stats)

  return network, variables, step


def test_a_step_is_finite_and_keeps_shapes(trained, digits):
  _, variables, step = trained
  value, logits, gradient, moved = step(variables, KEYS[0])
  assert logits.shape == (8, 10) and logits.dtype == np.float32
  assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, moved)))
  assert jax.tree.map(np.shape, moved) == jax.tree.map(np.shape, variables)
  still = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(variables.weights), jax.tree.leaves(moved.weights), strict=True)]
  assert not any(still), "a weight has no gradient"


def test_a_step_is_a_function_of_its_key(trained):
  _, variables, step = trained
  first, again = step(variables, KEYS[0]), step(variables, KEYS[0])
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)


def test_inference_has_no_noise_and_moves_no_statistics(trained, digits):
  network, variables, _ = trained
  infer = jax.jit(lambda key, drop_path: functional.apply(network, variables, digits[0], train=False, key=key, drop_path=drop_path))
  (logits, auxiliary), stats = infer(None, None)
  assert auxiliary is None and np.isfinite(logits).all() and np.ptp(logits) > 0
  for key in KEYS:
    (noisy, _), _ = infer(key, np.float32(0.5))
    np.testing.assert_array_equal(noisy, logits)
  for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(variables.stats), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  "settings, noisy",
  [
    (PyramidNet.smallest(), True),
    (dataclasses.replace(PyramidNet.smallest(), shakedrop=0.0), False),
    (WideResNet.smallest(), True),
    (dataclasses.replace(WideResNet.smallest(), dropout=0.0), False),
  ],
)
def test_noise_depends_on_the_key(settings, noisy, digits):
  network, variables = functional.split(settings.build(digits[0].shape[1:], 10, np.random.default_rng(0)))
  call = jax.jit(lambda key: functional.apply(network, variables, digits[0], train=True, key=key)[0][0])
  assert np.array_equal(call(KEYS[0]), call(KEYS[1])) != noisy


def test_the_blocks_of_the_published_pyramidnet_share_few_programs():
  blocks = PyramidNet().build((32, 32, 3), 10, Zeros()).blocks
  assert len({(index // 30, block.stride, tuple(block.wide())) for index, block in enumerate(blocks)}) == 17
  for block in blocks:
    assert block.wide()[1] - 16 < block.convs[1].kernel[...].shape[-1] <= block.wide()[1] == block.wide()[0] // 4 == block.wide()[-1] // 4


@pytest.mark.parametrize("bottleneck, noise", [(True, "pixel"), (False, "image")])
def test_a_pyramidnet_of_shared_programs_is_the_plain_one(bottleneck, noise, digits, monkeypatch):
  """Channels of zeros change neither the loss, nor the gradient, nor the statistics."""
  monkeypatch.setattr(functions, "LEAST_REPETITION", 0.0)
  settings = PyramidNet(depth=11 if bottleneck else 8, alpha=9, bottleneck=bottleneck, shakedrop_noise=noise)
  network, variables = functional.split(settings.build(digits[0].shape[1:], 10, np.random.default_rng(0)))

  def loss(weights, stats, key):
    (logits, _), stats = functional.apply(network, functional.Variables(weights, stats), digits[0], train=True, key=key)
    return cross_entropy(logits, digits[1]).mean(), stats

  gradient = functions.Loss(loss, (0,)).gradient((0,))
  found, expected = (call(variables.weights, variables.stats, KEYS[1]) for call in (gradient, gradient.whole))
  assert [chain is not None for chain in gradient.chains.values()] == [True]
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  predict = functions.compiled(lambda variables: functional.apply(network, variables, digits[0], train=False)[0][0])
  np.testing.assert_allclose(predict(variables), predict.whole(variables), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  "registry, told",
  [
    (IMAGE_MODELS, "a model of images is a dataclass with the methods 'build', 'smallest' and 'convolutions'"),
    (LANGUAGE_MODELS, "a language model is a dataclass with the methods 'build', 'smallest' and 'matrices'"),
  ],
)
def test_a_model_without_its_smallest_size_is_refused(registry, told):
  with pytest.raises(InputError, match=told):
    registry.register("incomplete")(dataclasses.make_dataclass("Incomplete", [], namespace={"build": lambda self: None}))
  assert "incomplete" not in registry


@pytest.mark.parametrize("settings", [*(IMAGE_MODELS[name].smallest() for name in IMAGE_MODELS), PyramidNet(8, 4, False), ResNet(20, 3)])
def test_the_convolutions_are_those_of_the_network(settings):
  _, variables = functional.split(settings.build((8, 8, 3), 10, np.random.default_rng(0)))
  leaves = jax.tree_util.tree_leaves_with_path(variables.weights)
  shapes = sorted(leaf.shape for path, leaf in leaves if leaf.ndim == 4 and "shortcut" not in str(path))
  layers = settings.convolutions(3)
  assert sorted((layer.kernel, layer.kernel, layer.channels_in, layer.channels_out) for layer in layers) == shapes
  assert [layer.stride for layer in layers].count(2) == 2


@pytest.mark.parametrize(
  "model, changes, sentence",
  [
    (ResNet, {"depth": 21}, r"depth is 21; three stages of blocks make 6 n \+ 2 layers, so give for instance 20"),
    (ResNet, {"depth": 2}, "depth is 2; .* 8"),
    (ResNet, {"channels": 0}, "channels is 0; it must be above zero"),
    (WideResNet, {"depth": 26}, r"depth is 26; three stages of blocks make 6 n \+ 4 layers, so give for instance 28"),
    (WideResNet, {"depth": 4}, "depth is 4; .* 10"),
    (WideResNet, {"widen_factor": 0}, "widen_factor is 0; it must be above zero"),
    (WideResNet, {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
  ],
)
def test_settings_that_no_network_has_are_refused(model, changes, sentence):
  with pytest.raises(FieldError, match=sentence):
    model(**changes)
