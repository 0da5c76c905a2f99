"""Hypergradients, the estimators of the derivative of the validation loss in the architecture; each family is one file."""

from dnas.core.registry import import_modules
from dnas.supernet.hypergradients.base import HYPERGRADIENTS as HYPERGRADIENTS
from dnas.supernet.hypergradients.base import Estimate as Estimate
from dnas.supernet.hypergradients.base import Gradients as Gradients
from dnas.supernet.hypergradients.base import Hypergradient as Hypergradient
from dnas.supernet.hypergradients.base import Problem as Problem

import_modules(__name__, first=("fixed_weights", "finite_difference", "unrolled", "implicit"))
