"""Segmentation: discs in noise. How are pixels seen at half the size, and which maps does the output read?

  python examples/segmentation.py runs/segmentation
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import dnas


def made(count, size=24):
  """Images, [count, size, size, 1], and masks of discs, [count, size, size]."""
  rng = np.random.default_rng(0)
  rows, columns = np.mgrid[:size, :size]
  centres, radii = rng.uniform(6, size - 6, (count, 2, 1, 1)), rng.uniform(3, 6, (count, 1, 1))
  masks = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2
  return (masks + rng.normal(size=masks.shape))[..., None].astype(np.float32), masks.astype(np.float32)


class Network(nnx.Module):
  def __init__(self, rngs):
    self.fine = nnx.Conv(1, 8, (3, 3), rngs=rngs)
    strided = nnx.Conv(8, 8, (3, 3), strides=2, rngs=rngs)
    self.down = dnas.Choice("down", strided=strided, max=lambda x: nnx.max_pool(x, (2, 2), (2, 2)), mean=self.mean)
    dilated = {f"dilation{rate}": nnx.Conv(8, 8, (3, 3), kernel_dilation=rate, rngs=rngs) for rate in (1, 2, 4)}
    self.coarse = dnas.Choice("coarse", dilated)
    self.merge = dnas.InputChoice("merge", ("image", "fine", "coarse"), keep=2)
    self.image, self.head = nnx.Conv(1, 8, (1, 1), rngs=rngs), nnx.Conv(8, 1, (1, 1), rngs=rngs)

  @staticmethod
  def mean(x):
    return nnx.avg_pool(x, (2, 2), (2, 2))

  def __call__(self, images):
    fine = nnx.relu(self.fine(images))
    coarse = nnx.relu(self.coarse(self.down(fine)))
    coarse = jax.image.resize(coarse, fine.shape, "bilinear")
    return self.head(self.merge([self.image(images), fine, coarse]))[..., 0]


def loss(logits, masks):
  both, either = ((logits > 0) * masks).sum(), jnp.maximum(logits > 0, masks).sum()
  return optax.sigmoid_binary_cross_entropy(logits, masks).mean(), {"iou": both / jnp.maximum(either, 1)}


def main(workdir="runs/segmentation", epochs=20, examples=512):
  settings = {"darts.arch_learning_rate": 0.02, "darts.learning_rate": 0.1, "gdas.start_temperature": 5.0}
  return dnas.search_network(Network, dnas.Arrays(made(examples)), loss, workdir, method="gdas", epochs=epochs, changes=settings)


if __name__ == "__main__":
  main(*sys.argv[1:])
