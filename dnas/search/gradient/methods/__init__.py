"""Differentiable methods; each is one file with its relaxation, its settings and its registration."""

from dnas.core.registry import import_modules
from dnas.search.gradient.methods.base import METHODS as METHODS
from dnas.search.gradient.methods.base import ArchRates as ArchRates
from dnas.search.gradient.methods.base import DifferentiableMethod as DifferentiableMethod
from dnas.search.gradient.methods.base import check_channels as check_channels

import_modules(__name__, first=("darts", "pc_darts", "gdas", "drnas", "gaea", "snas", "fair_darts"))
