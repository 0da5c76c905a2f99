"""The configuration of images: the data set, its division, its augmentation; and the registry of data sets."""

import dataclasses
from collections.abc import Callable
from typing import Any

from dnas.core import config
from dnas.core.registry import Registry, is_function
from dnas.data.metrics import METRICS, check_metrics
from dnas.data.splits import SPLITS

CLASS_WEIGHTS = ("none", "balanced")

DATASETS: Registry[Callable[..., Any]] = Registry("dataset", is_function("a function of the data folder"))
"""Data set name to its loader, a function of the data folder that returns a `base.ImageDataset`. An `own_images.OwnImages` also takes the
configuration. `dnas.data.datasets` has registered them all once it is imported."""


@dataclasses.dataclass(frozen=True)
class Config:
  """The data set, its division and its augmentation.

  Attributes:
    dataset: name of a registered data set; digits is built in.
    data_dir: folder of the data set's files; empty for a built-in data set, or to download a published one. Files of your own are read by
      the sets images (a folder of PNG and JPEG), arrays (a file .npz), hf (a folder of Hugging Face) and tfds (a prepared set).
    image_size: height and width to which images of your own are resized, such as 32,48; one number is both. Empty leaves images as they
      are, all of one size.
    centre_crop: side of the central square that is taken of an image of your own before it is resized, as a share of its shorter side.
      Recipes for ImageNet take 0.875. 0 takes the whole image.
    stream: whether images of your own are decoded when a batch needs them, and not all at the start. They must then have an image_size.
      So they may be more than memory holds. They are colour images, and their statistics are those of at most 10,000 training images.
    stream_workers: processes that decode them; 0 decodes in threads of this process. It changes no result.
    crop_area: least share of its area that a random crop takes of a streamed training image, before it is resized. Recipes for ImageNet
      take 0.08. 0 crops nothing; crop_padding crops afterwards.
    colour_jitter: whether brightness, contrast, saturation and hue of streamed training images are changed at random.
    test_portion: fraction of the examples that is the test set, for images of your own that have no test part. It is divided off within
      every class.
    test_seed: seed of this division.
    examples: number of examples of the training set to use, for a short run; 0 uses all. split chooses them: contiguous takes the first
      ones, shuffled draws from all, stratified draws the same share of every class.
    train_portion: fraction of the training set that trains the weights. The rest is the validation set, on which a search trains its
      architecture. A retraining may take 1, the whole training set. It does nothing where the data have a validation set of their own.
    split: how the training set is divided: contiguous (the first examples train), shuffled, or stratified (shuffled within every class).
      Empty is the default of the data set: contiguous for published and built-in data sets, stratified for all others.
    split_seed: seed of a shuffled or stratified division. All seeds of a run use this seed, so they share one validation set.
    class_weights: weight of an example in the losses: none (all equal), or balanced (the inverse frequency of its class in the training
      part, scaled to a mean of 1 over that part). A class without examples in that part has weight 0. All reported losses have these
      weights, also those of validation and test. No accuracy has them.
    metrics: further metrics of validation and test, with commas between their names. Loss and accuracies are always reported.
    batch_size: examples in a training batch.
    eval_batch_size: examples in a batch of validation or test, at most all examples; it changes speed and memory, never a result.
    crop_padding: pixels of border added before the random crop; 0 does not crop. CIFAR recipes take 4.
    crop_reflect: whether this border mirrors the image; else it is black.
    flip: whether an image is mirrored left to right with probability 1/2, as in CIFAR recipes. A mirror turns digits into other signs.
    random_erasing: probability that random erasing fills a rectangle of an image with random colours. Recipes take 0.5.
    cutout_length: side in pixels of the square that cutout erases, an even number; 0 does not erase.
    standardize_images: whether an image is normalized by its own mean and deviation over all channels, not by those of the data set.
  """

  dataset: str = config.named("digits", lambda: DATASETS)
  data_dir: str = ""
  image_size: tuple[int, ...] = ()
  centre_crop: float = 0.0
  stream: bool = False
  stream_workers: int = 2
  crop_area: float = 0.0
  colour_jitter: bool = False
  test_portion: float = 0.2
  test_seed: int = 0
  examples: int = 0
  train_portion: float = 0.5
  split: str = ""
  split_seed: int = 0
  class_weights: str = "none"
  metrics: tuple[str, ...] = config.named((), lambda: METRICS)
  batch_size: int = 64
  eval_batch_size: int = 256
  crop_padding: int = 1
  crop_reflect: bool = False
  flip: bool = False
  random_erasing: float = 0.0
  cutout_length: int = 0
  standardize_images: bool = False

  def __post_init__(self):
    config.check_types(self)
    fits = len(self.image_size) <= 2 and all(1 <= side <= 10**4 for side in self.image_size)
    hint = "give one number or two, height and width, each 1 to 10000, such as 32,48"
    config.check(fits, "image_size", ",".join(map(str, self.image_size)), hint)
    hint = "it needs their height and width; give --data.image_size"
    config.check(not self.stream or bool(self.image_size), "stream", self.stream, hint)
    for name in ("crop_area", "colour_jitter"):
      value = getattr(self, name)
      config.check(not value or self.stream, name, value, "it does nothing without --data.stream, so leave it out")
    for name in ("centre_crop", "crop_area"):
      config.check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "it must be 0 to 1")
    hint = "it resizes the central square; give --data.image_size"
    config.check(not self.centre_crop or bool(self.image_size), "centre_crop", self.centre_crop, hint)
    config.check_not_negative(stream_workers=self.stream_workers)
    config.check_at_most(1000, stream_workers=self.stream_workers)
    config.check(0 < self.test_portion < 1, "test_portion", self.test_portion, "it must be above 0 and below 1")
    config.check_not_negative(test_seed=self.test_seed)
    config.check(0 < self.train_portion <= 1, "train_portion", self.train_portion, "it must be above 0 and at most 1")
    if self.split:
      config.check_name("split", self.split, SPLITS)
    config.check_name("class_weights", self.class_weights, CLASS_WEIGHTS)
    check_metrics(self.metrics)
    config.check_positive(batch_size=self.batch_size, eval_batch_size=self.eval_batch_size)
    config.check_not_negative(examples=self.examples, split_seed=self.split_seed)
    config.check_not_negative(crop_padding=self.crop_padding, cutout_length=self.cutout_length)
    config.check_at_most(10**6, batch_size=self.batch_size, crop_padding=self.crop_padding, cutout_length=self.cutout_length)
    hint = "it does nothing without --data.crop_padding, so leave it out"
    config.check(not self.crop_reflect or self.crop_padding > 0, "crop_reflect", self.crop_reflect, hint)
    config.check(0 <= self.random_erasing <= 1, "random_erasing", self.random_erasing, "it must be 0 to 1")
    config.check(self.cutout_length % 2 == 0, "cutout_length", self.cutout_length, "it must be even")
