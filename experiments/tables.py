"""`dnas tables` in a checkout: python -m experiments.tables --help."""

import sys

from dnas.launchers.tables import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
