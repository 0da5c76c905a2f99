"""What is inherited: the arrays of a trained network, for another architecture."""

from typing import Any, NamedTuple

from dnas.cells.functional import Variables

Tree = Any


class Trained(NamedTuple):
  """The arrays of a network and of its optimizer.

  Attributes:
    variables: weights and running statistics.
    momentum: the momentum, in the structure of the weights; None without momentum.
  """

  variables: Variables
  momentum: Tree | None


class Inherited(NamedTuple):
  """The arrays with which the network of another architecture begins.

  Attributes:
    trained: the arrays, in the structure of that network.
    exact: whether that network computes the same function.
  """

  trained: Trained
  exact: bool
