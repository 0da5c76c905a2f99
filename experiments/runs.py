"""`dnas runs` in a checkout: python -m experiments.runs --help."""

import sys

from dnas.launchers.runs import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
