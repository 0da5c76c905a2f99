"""`dnas open` in a checkout: python -m experiments.open --help."""

import sys

from dnas.launchers.open import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
