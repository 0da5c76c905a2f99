"""Regression: activations, depth and inputs of a perceptron for the diabetes data of scikit-learn. A choice stands inside of another.

  python examples/regression.py runs/regression
"""

import sys

import jax.numpy as jnp
from flax import nnx
from sklearn.datasets import load_diabetes

import dnas


def activation(name):
  return dnas.Choice(name, relu=nnx.relu, tanh=jnp.tanh, sine=jnp.sin)


class Network(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Linear(10, 16, rngs=rngs)
    self.activation = activation("activation")
    deep = nnx.Sequential(nnx.Linear(16, 16, rngs=rngs), activation("deep_activation"), nnx.Linear(16, 16, rngs=rngs))
    self.depth = dnas.Choice("depth", deep=deep, skip=nnx.identity)
    self.linear = nnx.Linear(10, 16, rngs=rngs)
    self.merge = dnas.InputChoice("merge", ("first", "last", "linear"), keep=2)
    self.head = nnx.Linear(16, 1, rngs=rngs)

  def __call__(self, x):
    first = self.activation(self.first(x))
    return self.head(self.merge([first, self.depth(first), self.linear(x)]))[:, 0]


def loss(outputs, targets):
  return jnp.square(outputs - targets).mean(), {"absolute_error": jnp.abs(outputs - targets).mean()}


def main(workdir="runs/regression", epochs=60, examples=442):
  x, y = load_diabetes(return_X_y=True)
  x, y = (x / x.std(0)).astype("float32"), ((y - y.mean()) / y.std()).astype("float32")
  data = dnas.Arrays((x[:examples], y[:examples]), batch_size=32)
  settings = {"darts.arch_learning_rate": 0.1, "darts.learning_rate": 0.02}
  return dnas.search_network(Network, data, loss, workdir, method="gaea", epochs=epochs, changes=settings)


if __name__ == "__main__":
  main(*sys.argv[1:])
