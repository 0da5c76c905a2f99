"""Registers all strategies by importing every module of this package. A new strategy needs only a new file."""

from dnas.core.registry import import_modules
from dnas.search.blackbox.base import STRATEGIES as STRATEGIES

import_modules("dnas.search.blackbox")
