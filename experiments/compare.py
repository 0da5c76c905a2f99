"""`dnas compare` in a checkout: python -m experiments.compare --help."""

import sys

from dnas.launchers.compare import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
