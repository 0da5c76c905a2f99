"""`dnas evaluators` in a checkout: python -m experiments.evaluators --help."""

import sys

from dnas.launchers.evaluators import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
