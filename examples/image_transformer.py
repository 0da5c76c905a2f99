"""Images: does a layer of a small vision transformer want attention or convolution? Searched on the digits of scikit-learn.

  python examples/image_transformer.py runs/image_transformer
"""

import sys

import optax
from flax import nnx
from sklearn.datasets import load_digits

import dnas


class Layer(nnx.Module):
  """Tokens are mixed by one of two modules. The activation of the perceptron is a choice, too."""

  def __init__(self, name, width, rngs):
    attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
    convolution = nnx.Conv(width, width, (3,), feature_group_count=width, rngs=rngs)
    self.mixing = dnas.Choice(f"{name}_mixing", attention=attention, convolution=convolution)
    self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
    self.up, self.down = (nnx.Linear(*ends, rngs=rngs) for ends in ((width, 64), (64, width)))
    self.activation = dnas.Choice(f"{name}_activation", relu=nnx.relu, gelu=nnx.gelu, silu=nnx.silu)

  def __call__(self, x):
    x = x + self.mixing(self.norms[0](x))
    return x + self.down(self.activation(self.up(self.norms[1](x))))


class Network(nnx.Module):
  def __init__(self, rngs):
    self.embed = nnx.Linear(4, 32, rngs=rngs)
    self.place = nnx.Param(0.02 * rngs.params.normal((1, 16, 32)))
    self.layers = nnx.List([Layer(f"layer{index}", 32, rngs) for index in range(2)])
    self.head = nnx.Linear(32, 10, rngs=rngs)

  def __call__(self, images):
    patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4)
    x = self.embed(patches) + self.place[...]
    for layer in self.layers:
      x = layer(x)
    return self.head(x.mean(1))


def loss(logits, labels):
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return losses.mean(), {"accuracy": (logits.argmax(-1) == labels).mean()}


def main(workdir="runs/image_transformer", epochs=30, examples=1797):
  images, labels = load_digits(return_X_y=True)
  data = dnas.Arrays(((images.reshape(-1, 8, 8) / 16).astype("float32")[:examples], labels[:examples]), batch_size=32)
  settings = {"darts.arch_learning_rate": 0.01, "darts.learning_rate": 0.05}
  return dnas.search_network(Network, data, loss, workdir, method="drnas", epochs=epochs, changes=settings)


if __name__ == "__main__":
  main(*sys.argv[1:])
