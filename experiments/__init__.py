"""Launchers. Each is a module: `python -m experiments.search --help`."""
