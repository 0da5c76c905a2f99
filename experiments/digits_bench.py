"""`dnas digits_bench` in a checkout: python -m experiments.digits_bench --help."""

import sys

from dnas.launchers.digits_bench import main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
