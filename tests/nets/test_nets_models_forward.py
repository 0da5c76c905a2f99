"""Human-designed image networks against plain NumPy loops, in training and in inference."""

import jax
import numpy as np
import pytest

from dnas.cells import functional
from dnas.core import keys
from dnas.nets.models.pyramidnet import PyramidNet
from dnas.nets.models.resnet import ResNet
from dnas.nets.models.wide_resnet import WideResNet

KEY = jax.random.key(7)
IMAGES = np.random.default_rng(1).normal(size=(3, 6, 5, 2)).astype(np.float32)
CLASSES = 4


def convolution(x, kernel, stride):
  size = kernel.shape[0]
  around = size // 2
  padded = np.zeros((x.shape[0], x.shape[1] + 2 * around, x.shape[2] + 2 * around, x.shape[3]))
  padded[:, around : around + x.shape[1], around : around + x.shape[2]] = x
  out = np.zeros((x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), kernel.shape[3]))
  for row in range(out.shape[1]):
    for column in range(out.shape[2]):
      window = padded[:, stride * row : stride * row + size, stride * column : stride * column + size]
      out[:, row, column] = window.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[3])
  return out


class Loops:
  """The layers of a network, whose weights are random arrays at the places of the real network."""

  def __init__(self, weights, stats, train):
    self.weights, self.stats, self.train = weights, stats, train

  def at(self, *path):
    weights, stats = self.weights, self.stats
    for name in path:
      weights, stats = weights[name], stats.get(name, {})
    return weights, stats

  def conv(self, x, *path, stride=1):
    return convolution(x, np.asarray(self.at(*path)[0]["kernel"], np.float64), stride)

  def norm(self, x, *path):
    weights, stats = self.at(*path)
    mean = x.mean((0, 1, 2)) if self.train else np.asarray(stats["mean"][0], np.float64)
    variance = x.var((0, 1, 2)) if self.train else np.asarray(stats["variance"][0], np.float64)
    return (x - mean) / np.sqrt(variance + 1e-5) * np.asarray(weights["scale"][0]) + np.asarray(weights["bias"][0])

  def classify(self, x):
    kernel, bias = (np.asarray(self.weights["classifier"][name]) for name in ("kernel", "bias"))
    return np.array([[image[..., channel].mean() for channel in range(x.shape[-1])] for image in x]) @ kernel + bias


def relu(x):
  return np.maximum(x, 0)


def with_zeros(x, channels):
  return np.concatenate([x, np.zeros((*x.shape[:3], channels - x.shape[3]))], 3)


def halved(x):
  out = np.zeros((x.shape[0], -(-x.shape[1] // 2), -(-x.shape[2] // 2), x.shape[3]))
  for row in range(x.shape[1]):
    for column in range(x.shape[2]):
      out[:, row // 2, column // 2] += x[:, row, column] / 4
  return out


def resnet(loops, settings, images):
  x, n = relu(loops.norm(loops.conv(images, "stem", "conv"), "stem", "norm")), (settings.depth - 2) // 6
  for index in range(3 * n):
    stride = 2 if index in (n, 2 * n) else 1
    out = relu(loops.norm(loops.conv(x, "blocks", index, "conv1", stride=stride), "blocks", index, "norm1"))
    out = loops.norm(loops.conv(out, "blocks", index, "conv2"), "blocks", index, "norm2")
    x = relu(out + with_zeros(x[:, ::stride, ::stride], out.shape[-1]))
  return loops.classify(x)


def wide_resnet(loops, settings, images):
  x, n = loops.conv(images, "stem", "conv"), (settings.depth - 4) // 6
  for index in range(3 * n):
    stride = 2 if index in (n, 2 * n) else 1
    first = relu(loops.norm(x, "blocks", index, "norm1"))
    out = relu(loops.norm(loops.conv(first, "blocks", index, "conv1", stride=stride), "blocks", index, "norm2"))
    if loops.train:
      key = keys.derive(KEY, "block", index)
      kept = np.asarray(jax.random.uniform(key, out.shape) < 1 - settings.dropout)
      out = np.where(kept, out / (1 - settings.dropout), 0)
    out = loops.conv(out, "blocks", index, "conv2")
    shortcut = x if x.shape == out.shape else loops.conv(first, "blocks", index, "shortcut", stride=stride)
    x = out + shortcut
  return loops.classify(relu(loops.norm(x, "last_norm")))


def pyramidnet(loops, settings, images):
  kernels = 3 if settings.bottleneck else 2
  x, count = loops.norm(loops.conv(images, "stem", "conv"), "stem", "norm"), (settings.depth - 2) // kernels
  for index in range(count):
    stride = 2 if index in (count // 3, 2 * count // 3) else 1
    out = loops.norm(x, "blocks", index, "norms", 0)
    for number in range(kernels):
      here = stride if number == (1 if settings.bottleneck else 0) else 1
      out = loops.norm(loops.conv(out, "blocks", index, "convs", number, stride=here), "blocks", index, "norms", number + 1)
      out = out if number == kernels - 1 else relu(out)
    keep, key = 1 - settings.shakedrop * (index + 1) / count, keys.derive(KEY, "block", index)
    if loops.train:
      b = np.asarray(jax.random.uniform(keys.derive(key, "gate"), (1, 1, 1, 1)) < keep)
      alpha = 2 * np.asarray(jax.random.uniform(keys.derive(key, "alpha"), (len(images), 1, 1, 1))) - 1
      out = out * (b + alpha - b * alpha)
    else:
      out = out * keep
    x = out + with_zeros(x if stride == 1 else halved(x), out.shape[-1])
  return loops.classify(relu(loops.norm(x, "last_norm")))


CASES = [
  (resnet, ResNet(depth=14, channels=3)),
  (wide_resnet, WideResNet(depth=16, widen_factor=1, dropout=0.4)),
  (pyramidnet, PyramidNet(depth=11, alpha=7)),
  (pyramidnet, PyramidNet(depth=14, alpha=7, bottleneck=False)),
]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("loop, settings", CASES)
def test_a_network_is_its_plain_loop(loop, settings, train):
  network, drawn = functional.split(settings.build(IMAGES.shape[1:], CLASSES, np.random.default_rng(0)))
  rng = np.random.default_rng(2)
  weights = jax.tree.map(lambda w: w + 0.1 * rng.normal(size=w.shape).astype(np.float32), drawn.weights)
  stats = jax.tree.map(lambda s: s + 0.5 * rng.uniform(size=s.shape).astype(np.float32), drawn.stats)
  variables = functional.Variables(weights, stats)
  (logits, auxiliary), moved = functional.apply(network, variables, IMAGES, train=train, key=KEY if train else None)
  expected = loop(Loops(weights, stats, train), settings, IMAGES.astype(np.float64))
  assert auxiliary is None and np.ptp(expected) > 0.1
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
  same = [np.array_equal(old, new) for old, new in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True)]
  assert not any(same) if train else all(same)


@pytest.mark.parametrize("settings", [ResNet.smallest(), PyramidNet.smallest()])
def test_the_shortcut_appends_channels_of_zeros(settings):
  """With the branches silenced, a block passes its input on, and the new channels are zero."""
  block = settings.build((8, 8, 3), CLASSES, np.random.default_rng(0)).blocks[0 if isinstance(settings, PyramidNet) else 1]
  last = block.norms[-1] if isinstance(settings, PyramidNet) else block.norm2
  last.scale.set_value(0 * last.scale[...])
  before = block.norms[0].scale[...].shape[-1] if isinstance(settings, PyramidNet) else 2
  x = np.abs(np.random.default_rng(3).normal(size=(2, 4, 4, before))).astype(np.float32)
  out = np.asarray(block(x, *[np.float32(1)] * isinstance(settings, PyramidNet), None, train=False))
  assert out.shape[-1] > before
  np.testing.assert_array_equal(out[..., before:], 0)
  np.testing.assert_array_equal(out[..., :before], x if block.stride == 1 else x[:, ::2, ::2])
