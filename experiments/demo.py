"""`dnas demo` in a checkout: python -m experiments.demo --help."""

import sys

from dnas.launchers.demo import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
