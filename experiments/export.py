"""`dnas export` in a checkout: python -m experiments.export --help."""

import sys

from dnas.launchers.export import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
