"""`dnas speed` in a checkout: python -m benchmarks.speed --help."""

import sys

from dnas.launchers.speed import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
