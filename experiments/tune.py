"""`dnas tune` in a checkout: python -m experiments.tune --help."""

import sys

from dnas.launchers.tune import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
