"""A trained image network, put to use."""

from typing import Any

import jax
import numpy as np

from dnas.cells import functional
from dnas.core.errors import InputError, shown
from dnas.data import augment
from dnas.data.about import About
from dnas.data.checks import checked_images

BATCH = 64
"""Images that a program reads at once; the last batch is filled up."""


class ImageClassifier:
  """A trained image network with all that it needs for images that it has not seen.

  >>> classifier = dnas.load_run("runs/first_retrained")  # doctest: +SKIP
  >>> probabilities = classifier.predict(images)  # doctest: +SKIP
  >>> [classifier.class_names[best] for best in probabilities.argmax(-1)]  # doctest: +SKIP

  Attributes:
    network: the static part of the network.
    variables: its weights and running statistics.
    about: shape and statistics of the images that trained it, and names of the classes.
    standardize_images: whether every image is normalized by its own statistics (`augment.normalize`).
  """

  def __init__(
    self, network: functional.Network, variables: functional.Variables, about: About, standardize_images: bool = False
  ):
    """Puts the parts together; nothing is compiled yet."""
    self.network, self.variables, self.about, self.standardize_images = network, variables, about, standardize_images
    self._forward = jax.jit(self.forward)

  @property
  def class_names(self) -> tuple[str, ...]:
    """One name per class, in the order of the probabilities."""
    return self.about.class_names

  def forward(self, variables: functional.Variables, images: jax.Array) -> jax.Array:
    """Returns the logits [B, classes] of images uint8 [B, H, W, C], in inference mode; a pure function."""
    return self.of_normalized(variables, augment.normalize(images, self.about.mean, self.about.std, self.standardize_images))

  def of_normalized(self, variables: functional.Variables, images: jax.Array) -> jax.Array:
    """Returns the logits [B, classes] of normalized images float32 [B, H, W, C]; see `forward`."""
    return functional.apply(self.network, variables, images, train=False)[0][0]

  def logits(self, images: Any, batch_size: int = BATCH) -> np.ndarray:
    """Returns the logits of images, float32 [N, classes]; see `predict`."""
    images = self._checked(images)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
      raise InputError(f"batch_size is {shown(batch_size)}; it must be a whole number above zero.")
    found = []
    for start in range(0, len(images), batch_size):
      batch = images[start : start + batch_size]
      filling = np.zeros((batch_size - len(batch), *batch.shape[1:]), np.uint8)
      found.append(np.asarray(self._forward(self.variables, jax.device_put(np.concatenate([batch, filling]))))[: len(batch)])
    return np.concatenate(found)

  def predict(self, images: Any, batch_size: int = BATCH) -> np.ndarray:
    """Returns the probabilities of the classes, float32 [N, classes].

    Args:
      images: uint8 [N, H, W, C], of the shape of the images that trained the network, not normalized.
      batch_size: images that are read at once. A batch size compiles once; the last batch is filled up.

    Raises:
      InputError: for images of another type or shape, or a batch size below 1.
    """
    logits = self.logits(images, batch_size)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)

  def _checked(self, images: Any) -> np.ndarray:
    images, shape = checked_images(images), self.about.image_shape
    if images.shape[1:] != shape:
      hint = f"this network was trained on {list(shape)}; resize them"
      raise InputError(f"images have the shape {list(images.shape[1:])} each, and {hint}.")
    return images
