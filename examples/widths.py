"""Numbers of channels: three layers on the digits of scikit-learn, with a price on wide layers. By gradient, and by evolution.

  python examples/widths.py runs/widths
"""

import sys

import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

import dnas


class Network(nnx.Module):
  def __init__(self, rngs):
    channels, self.convs, self.widths = 1, nnx.List([]), nnx.List([])
    for index in range(3):
      self.widths.append(dnas.WidthChoice(f"width{index}", (4, 8, 16, 24)))
      self.convs.append(nnx.Conv(channels, self.widths[-1].channels, (3, 3), rngs=rngs))
      channels = self.widths[-1].channels
    self.head = nnx.Linear(channels, 10, rngs=rngs)

  def __call__(self, x):
    active = 0.0
    for conv, width in zip(self.convs, self.widths, strict=True):
      x = width(nnx.relu(conv(x)))
      active += width(jnp.ones(x.shape[-1])).sum()  # the expected number of channels
    return self.head(x.mean((1, 2))), active


def loss(outputs, labels):
  logits, active = outputs
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
  return cross_entropy + 0.002 * active, {"accuracy": (logits.argmax(-1) == labels).mean(), "channels": active}


def main(workdir="runs/widths", epochs=30, examples=1797, trials=12):
  images, labels = load_digits(return_X_y=True)
  data = dnas.Arrays(((images.reshape(-1, 8, 8, 1) / 16).astype("float32")[:examples], labels[:examples]), batch_size=32)
  settings = {"darts.arch_learning_rate": 0.02, "darts.learning_rate": 0.05}
  found = dnas.search_network(Network, data, loss, f"{workdir}/darts", epochs=epochs, changes=settings)
  evolved = dnas.run_network_trials(Network, data, loss, f"{workdir}/evolution", trials=trials, epochs=max(epochs // 6, 1))
  return found, evolved


if __name__ == "__main__":
  main(*sys.argv[1:])
