"""`dnas latency` in a checkout: python -m experiments.latency --help."""

import sys

from dnas.launchers.latency import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
