"""Registers all strategies by importing every module of this package. A new strategy needs only a new file."""

import importlib
import pkgutil

import dnas.search.blackbox
from dnas.search.blackbox.base import STRATEGIES as STRATEGIES

for _module in pkgutil.iter_modules(dnas.search.blackbox.__path__):
  if _module.name != "strategies":
    importlib.import_module(f"{dnas.search.blackbox.__name__}.{_module.name}")
