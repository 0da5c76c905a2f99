"""Files of a user's own data, made anew."""

import pathlib

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (8, 8), colour: bool = True, base: int = 0) -> np.ndarray:
  """A noisy image, uint8 [H, W] or [H, W, 3], around a level."""
  rng = np.random.default_rng(seed)
  return rng.integers(base, base + 80, (*size, 3) if colour else size, np.uint8)


def write_images(folder: pathlib.Path, counts: dict[str, int], suffix: str = ".png", **settings) -> pathlib.Path:
  """Writes so many images a class; those of later classes are brighter."""
  for label, (name, count) in enumerate(counts.items()):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
      pixels = picture(1000 * label + number, base=min(100 * label, 150), **settings)
      Image.fromarray(pixels).save(folder / name / f"{number:03d}{suffix}")
  return folder
