"""The launchers whose runs have a page with the command that repeats them."""

from dnas.launchers import compare, search, train, tune

LAUNCHERS = {module.LAUNCHER.name: module.LAUNCHER for module in (search, train, tune, compare)}
