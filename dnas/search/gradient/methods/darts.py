"""DARTS: the softmax over operations, which is the relaxation of `DifferentiableMethod`."""

import dataclasses

from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod


@METHODS.register("darts")
@dataclasses.dataclass(frozen=True)
class Darts(DifferentiableMethod):
  """Softmax over operations. Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019."""
