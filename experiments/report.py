"""`dnas report` in a checkout: python -m experiments.report --help."""

import sys

from dnas.launchers.report import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
