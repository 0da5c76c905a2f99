"""Text: a model of characters whose layers are causal attention or causal convolutions. Searched on the source of Python's argparse.

  python examples/text_causal.py runs/text_causal
"""

import argparse
import inspect
import sys

import numpy as np
import optax
from flax import nnx

import dnas


class Attention(nnx.MultiHeadAttention):
  def __call__(self, x):
    return super().__call__(x, mask=nnx.make_causal_mask(x[..., 0]))


class Layer(nnx.Module):
  def __init__(self, name, width, rngs):
    short, long = (nnx.Conv(width, width, (size,), padding="CAUSAL", rngs=rngs) for size in (3, 7))
    self.choice = dnas.Choice(name, short=short, long=long, attention=Attention(4, width, decode=False, rngs=rngs))
    self.norm, self.drop = nnx.LayerNorm(width, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)

  def __call__(self, x):
    return x + self.drop(nnx.gelu(self.choice(self.norm(x))))


class Network(nnx.Module):
  def __init__(self, rngs):
    self.embed = nnx.Embed(128, 32, rngs=rngs)
    self.layers = nnx.List([Layer(f"layer{index}", 32, rngs) for index in range(3)])
    self.head = nnx.Linear(32, 128, rngs=rngs)

  def __call__(self, characters):
    x = self.embed(characters)
    for layer in self.layers:
      x = layer(x)
    return self.head(x)


def loss(logits, following):
  return optax.softmax_cross_entropy_with_integer_labels(logits, following).mean()


def main(workdir="runs/text_causal", epochs=20, examples=1600):
  text = np.frombuffer(inspect.getsource(argparse).encode("ascii", "replace"), np.uint8).astype(np.int32)
  windows = text[: len(text) // 49 * 49].reshape(-1, 49)[:examples]
  data = dnas.Arrays((windows[:, :-1], windows[:, 1:]), batch_size=32)
  settings = {"darts.arch_learning_rate": 0.01, "darts.learning_rate": 0.1, "hypergradient": "finite_difference"}
  return dnas.search_network(Network, data, loss, workdir, epochs=epochs, changes=settings)


if __name__ == "__main__":
  main(*sys.argv[1:])
