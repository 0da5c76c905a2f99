"""Packs the 50,000 training images of CIFAR-10 without loss in two files of 42 MB each, which can be brought to a machine one by one.

  python -m benchmarks.pack_cifar10 DATA_DIR OUT

DATA_DIR is the folder 'cifar-10-batches-py' or the one around it. The files go into the folder OUT. `--data.dataset=cifar10
--data.data_dir=OUT` then reads them, on any machine. The test images are not in them: a training that comes to its test needs test_batch of
the published archive (31 MB) in the same folder.
"""

import hashlib
import pathlib
import sys

from dnas.core.errors import InputError
from dnas.data import cifar10_packed, datasets


def main(argv: list[str]) -> int:
  """Packs, and returns the exit status."""
  if len(argv) != 3 or argv[1].startswith("-"):
    print(__doc__)
    return 2
  try:
    train = datasets.load("cifar10", argv[1]).train
    paths = cifar10_packed.write(train.images, train.labels, pathlib.Path(argv[2]).expanduser())
  except (InputError, OSError) as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  print("read again: images and labels are the published ones, bit by bit")
  for path in paths:
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}  {path.stat().st_size / 1e6:.1f} MB")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
