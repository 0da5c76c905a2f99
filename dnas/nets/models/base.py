"""The interfaces of networks that are trained, and the registries of human-designed ones.

A model is a registered frozen dataclass of the settings of one network, such as its depth. `build` makes the network. Trainings see nothing
but `ImageNetwork` or `LanguageNetwork`, so derived and human-designed networks are trained alike.
"""

from typing import Any, Protocol

import jax
import numpy as np

from dnas.cells.sizes import Convolution
from dnas.core.registry import Registry, is_settings

Tree = Any


class ImageNetwork(Protocol):
  """An `nnx` module that classifies images.

  Attributes:
    auxiliary: an auxiliary head, or None; its weights are not counted.
  """

  auxiliary: Any

  def __call__(
    self, images: jax.Array, train: bool, key: jax.Array | None = None, drop_path: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """Computes logits.

    Args:
      images: float32 [B, H, W, C].
      train: whether batch statistics are used and updated.
      key: typed random key of all noise in training; None in inference.
      drop_path: probability that an edge is dropped, a scalar; None drops none. A network without edges ignores it.

    Returns:
      Logits [B, classes], and those of the auxiliary head: None in inference or without such a head.
    """
    ...


class LanguageNetwork(Protocol):
  """An `nnx` module that predicts the next word."""

  def initial_hidden(self, batch: int) -> Tree:
    """Returns the hidden states at the beginning of a text: a tree of zeros, float32 arrays whose first axis is the batch."""
    ...

  def __call__(
    self, tokens: jax.Array, hidden: Tree, length: jax.Array, context: Any = None, key: jax.Array | None = None
  ) -> tuple[jax.Array, Tree, jax.Array]:
    """Predicts the next word at every time step.

    Args:
      tokens: words, int32 [T, B].
      hidden: the hidden states before the first word.
      length: number of valid time steps, an integer scalar, at most T.
      context: the context of a supernet's edges; None for all other networks.
      key: typed random key of the dropout masks; None disables dropout.

    Returns:
      Logits [T, B, V], the hidden states after `length` steps, and the sum of all penalties on activations, a scalar.
    """
    ...


class ImageModel(Protocol):
  """A frozen dataclass: the settings of a human-designed image network."""

  @staticmethod
  def smallest() -> "ImageModel":
    """Returns the settings of a network of a few layers and channels with all its kinds of layers and noise, for tests of all models."""
    ...

  def build(self, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator) -> ImageNetwork:
    """Returns the network for images of shape (H, W, C). Raises FieldError for images that it does not take."""
    ...

  def convolutions(self, image_channels: int) -> list[Convolution]:
    """Returns the convolutions one after the other, shortcuts excepted. They tell the memory of a training before it is built."""
    ...


class LanguageModel(Protocol):
  """A frozen dataclass: the settings of a human-designed language model."""

  @staticmethod
  def smallest() -> "LanguageModel":
    """Returns the settings of a network of a few units with all its kinds of layers and noise, for tests of all models."""
    ...

  def build(self, vocabulary_size: int, rng: np.random.Generator) -> LanguageNetwork:
    """Returns the network for a number of words."""
    ...

  def matrices(self) -> list[tuple[int, int]]:
    """Returns (rows, columns) of every matrix of the network but the embedding, which is also the decoder.

    The first matrix is multiplied by the features of a word. The shapes tell the memory of a training before it is built.
    """
    ...


IMAGE_MODELS: Registry[type[ImageModel]] = Registry("model", is_settings("a model of images", "build", "smallest", "convolutions"))
"""Human-designed image networks by name."""

LANGUAGE_MODELS: Registry[type[LanguageModel]] = Registry("model", is_settings("a language model", "build", "smallest", "matrices"))
"""Human-designed language models by name."""
