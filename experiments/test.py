"""`dnas test` in a checkout: python -m experiments.test --help."""

import sys

from dnas.launchers.test import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
