"""`dnas search` in a checkout: python -m experiments.search --help."""

import sys

from dnas.launchers.search import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
