"""`dnas describe` in a checkout: python -m experiments.describe --help."""

import sys

from dnas.launchers.describe import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
