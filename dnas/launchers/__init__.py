"""Launchers. Each is a module with a `main`, and a subcommand: `dnas search --help`."""

import gc

# Importing JAX makes many objects that stay: at Python's own thresholds a sixth of that time goes to looking for garbage among them.
gc.set_threshold(100_000, 20, 20)
