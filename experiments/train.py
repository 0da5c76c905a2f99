"""`dnas train` in a checkout: python -m experiments.train --help."""

import sys

from dnas.launchers.train import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
