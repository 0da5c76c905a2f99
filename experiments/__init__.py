"""The launchers in a checkout: `python -m experiments.search` is `dnas search`."""
