"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28 grey pixels.

Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms,
arXiv:1708.07747; https://github.com/zalandoresearch/fashion-mnist.
"""

import gzip
import math
import pathlib
import struct

import numpy as np

from dnas.data.base import DATASETS, ImageDataset, Split
from dnas.data.download import Download
from dnas.data.published import Published, damaged, locate, read_bytes

SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
PUBLISHED = Published(
  "fashion-mnist",
  TRAIN + TEST,
  (
    Download(f"{SITE}/{TRAIN[0]}", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    Download(f"{SITE}/{TRAIN[1]}", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    Download(f"{SITE}/{TEST[0]}", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    Download(f"{SITE}/{TEST[1]}", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
  ),
)
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@DATASETS.register("fashion_mnist")
def fashion_mnist(data_dir: str) -> ImageDataset:
  """Loads Fashion-MNIST in the published order.

  Args:
    data_dir: the folder with the four published '.gz' files, or the parent of such a folder named 'fashion-mnist'; empty to download
      the files.
  """
  folder = locate(PUBLISHED, data_dir)
  mean, std = (0.28604060,), (0.35302424,)
  train = _read(folder, TRAIN)
  return ImageDataset("fashion_mnist", train, len(CLASSES), mean, std, CLASSES, published=True, _read_test=lambda: _read(folder, TEST))


def _read(folder: pathlib.Path, files: tuple[str, str]) -> Split:
  images, labels = _read_idx(folder / files[0], rank=3), _read_idx(folder / files[1], rank=1)
  if images.shape != (len(labels), 28, 28) or not len(labels):
    raise damaged(folder / files[0], f"images of shape {images.shape} with labels of shape {labels.shape}, not (N, 28, 28)", PUBLISHED)
  if labels.max() >= len(CLASSES):
    raise damaged(folder / files[1], f"a label is {labels.max()}, and the last class is {len(CLASSES) - 1}", PUBLISHED)
  return Split(images[..., None], labels.astype(np.int32))


def _read_idx(path: pathlib.Path, rank: int) -> np.ndarray:
  """Returns the uint8 array of a compressed idx file: two zeros, a type, the rank, the big-endian shape, the elements in C order."""
  compressed = read_bytes(path)
  try:
    content = gzip.decompress(compressed)
  except Exception as e:  # gzip, zlib and struct errors, and an early end
    raise damaged(path, f"{type(e).__name__}: {e}", PUBLISHED) from None
  start = 4 + 4 * rank
  is_idx = content[:4] == bytes([0, 0, 8, rank]) and len(content) >= start
  shape = struct.unpack_from(f">{rank}I", content, 4) if is_idx else ()
  if not is_idx or len(content) != start + math.prod(shape):
    raise damaged(path, f"not an idx file of uint8 with rank {rank}", PUBLISHED)
  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
