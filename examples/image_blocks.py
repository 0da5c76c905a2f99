"""Images: which block stands where? Searched on the digits of scikit-learn.

  python examples/image_blocks.py runs/image_blocks
"""

import sys

import optax
from flax import nnx
from sklearn.datasets import load_digits

import dnas


class Residual(nnx.Module):
  def __init__(self, channels, size, rngs):
    self.conv = nnx.Conv(channels, channels, (size, size), use_bias=False, rngs=rngs)
    self.norm = nnx.BatchNorm(channels, rngs=rngs)

  def __call__(self, x):
    return x + nnx.relu(self.norm(self.conv(x)))


class Network(nnx.Module):
  def __init__(self, rngs):
    self.stem = nnx.Conv(1, 16, (3, 3), rngs=rngs)
    self.blocks = nnx.List([self.block(f"block{index}", rngs) for index in range(4)])
    self.head = nnx.Linear(16, 10, rngs=rngs)

  def block(self, name, rngs):
    sizes = {f"{size}x{size}": Residual(16, size, rngs) for size in (1, 3, 5)}
    return dnas.Choice(name, {**sizes, "skip": nnx.identity})

  def __call__(self, x):
    x = self.stem(x)
    for block in self.blocks:
      x = block(x)
    return self.head(x.mean((1, 2)))


def loss(logits, labels):
  accuracy = (logits.argmax(-1) == labels).mean()
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), {"accuracy": accuracy}


def main(workdir="runs/image_blocks", epochs=30, examples=1797):
  images, labels = load_digits(return_X_y=True)
  data = dnas.Arrays(((images.reshape(-1, 8, 8, 1) / 16).astype("float32")[:examples], labels[:examples]), batch_size=32)
  settings = {"darts.arch_learning_rate": 0.01, "darts.learning_rate": 0.05}
  return dnas.search_network(Network, data, loss, workdir, method="darts", epochs=epochs, changes=settings)


if __name__ == "__main__":
  main(*sys.argv[1:])
