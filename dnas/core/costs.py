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
    memory = scaled(self.activation_bytes, ("TB", "GB", "MB", "kB"), "bytes")
    return f"{self.weights:,} weights, {counted_adds(self.multiply_adds)}, {memory} of activations"


NAMES = tuple(field.name for field in dataclasses.fields(Costs))
"""Names of the counted costs."""


def counted_adds(number: float) -> str:
  """Returns a number of multiply-adds in words, such as '528.4 M multiply-adds'."""
  return f"{scaled(number)} multiply-adds"


def scaled(number: float, units: tuple[str, str, str, str] = ("T", "G", "M", "k"), below: str = "") -> str:
  """Returns a number with the largest unit that it reaches: of 10^12, 10^9, 10^6 and 10^3, else the one below."""
  scales = zip((1e12, 1e9, 1e6, 1e3), units, strict=True)
  scale, unit = next(((scale, unit) for scale, unit in scales if number >= scale), (1.0, below))
  return f"{number / scale:.4g} {unit}".rstrip()
