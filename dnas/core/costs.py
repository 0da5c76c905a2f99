"""What a network costs at inference. `nets.costs` counts it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Costs:
  """What a network costs.

  Attributes:
    weights: number of trained numbers, without those of the auxiliary head of an image network.
    multiply_adds: multiply-adds of the convolutions and products of one inference. Normalizations and activation functions count nothing.
    activation_bytes: most memory that the activations of one inference need at once; see `compiler.inference.activation_bytes`.
  """

  weights: int
  multiply_adds: int
  activation_bytes: int

  def __str__(self) -> str:
    """Returns the costs in words, as a console shows them."""
    return f"{self.weights:,} weights, {counted_adds(self.multiply_adds)}, {self.activation_bytes / 1e6:.2f} MB of activations"


def counted_adds(number: float) -> str:
  """Returns a number of multiply-adds in words, such as '528.4 M multiply-adds'."""
  unit, scale = next(((unit, scale) for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if number >= scale), ("", 1.0))
  return f"{number / scale:.4g}{' ' * bool(unit)}{unit} multiply-adds"
