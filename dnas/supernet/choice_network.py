"""A network of a user's own with named choices, as a pure function of its arrays and of mixture weights.

The user gives a function that builds the network from random streams, for instance its class: a search builds it once for every seed, and a
derived network is built anew, so that its layers have the chosen widths and fresh weights are those of the user's initializers.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from dnas.cells import choices, decided, functional
from dnas.cells.functional import Variables
from dnas.core import keys
from dnas.core.choice_space import ChoiceGenotype
from dnas.core.errors import InputError, first_line, shown

Build = Callable[[nnx.Rngs], nnx.Module]
"""Builds a network from random streams."""


class SearchableNetwork:
  """A network with choices.

  Attributes:
    space: the space of its choices.
    network: the static part of the network.
    initial: the weights and statistics of the seed.
  """

  def __init__(self, build: Build, seed: int = 0, name: str = "network"):
    """Builds the network.

    Args:
      build: function from `nnx.Rngs` to the network; it builds the same network at every call.
      seed: seed of the random streams.
      name: name of the space.

    Raises:
      InputError: if `build` cannot be called so, or `decided.space_of` refuses what it builds.
    """
    self._build, self._seed = build, seed
    module = built(build, seed)
    self.space = decided.space_of(module, name)
    self.network, self.initial = functional.split_free(module)

  def reseeded(self, seed: int) -> "SearchableNetwork":
    """Returns the same network with the weights of another seed. Both share the static part, and so compiled programs."""
    other = object.__new__(SearchableNetwork)
    other._build, other._seed, other.space, other.network = self._build, seed, self.space, self.network
    other.initial = functional.split_free(built(self._build, seed))[1]
    return other

  def apply(
    self,
    variables: Variables,
    mixture: Mapping[str, Any],
    inputs: Any,
    key: jax.Array | None = None,
    train: bool = False,
    batch_statistics: bool = False,
  ) -> tuple[Any, Any]:
    """Calls the network; a pure function.

    Args:
      variables: weights and statistics, such as `initial`.
      mixture: name of every choice to its weights, [1, options]. `supernet.discretize.one_hot` gives those of an architecture.
      inputs: the argument of the network.
      key: typed random key of all its random streams; in inference it may be left out.
      train: whether the network is in training mode.
      batch_statistics: see `functional.apply_free`.

    Returns:
      The output of the network, and the statistics after the call.
    """
    with choices.mixing(mixture, train):
      return functional.apply_free(self.network, variables, inputs, jax.random.key(0) if key is None else key, train, batch_statistics)

  def derive(self, genotype: ChoiceGenotype | str, variables: Variables | None = None, seed: int | None = None) -> nnx.Module:
    """Returns the network of an architecture: a plain Flax module, in which what was chosen stands in the place of every choice.

    Args:
      genotype: the architecture, as a value or as text.
      variables: weights and statistics of this network, for instance from a search; the derived network inherits its share of them. None
        draws fresh weights.
      seed: seed of fresh weights; that of this network if not given.

    Raises:
      InputError: if the architecture is not of this space, or an array cannot be inherited: the layer that reads the channels of a
        `WidthChoice` reads others too, or reads them several times, as behind a flattening.
    """
    genotype = self.space.parse(genotype)
    with choices.building(genotype):
      module = built(self._build, self._seed if seed is None else seed)
    if variables is not None:
      widths = [choice for choice in choices.choices_in(module) if isinstance(choice, choices.WidthChoice)]
      functional.inherit(module, variables, {(choice.widths[-1], choice.channels) for choice in widths})
    return decided.decided(module, genotype)


def built(build: Build, seed: int) -> nnx.Module:
  """Returns the network that a user's function builds. Raises InputError if it takes no random streams or returns no module."""
  _check_takes_rngs(build)
  module = build(nnx.Rngs(int(keys.generator(seed, "network").integers(2**31))))
  if not isinstance(module, nnx.Module):
    raise InputError(f"the function that builds the network returns {shown(type(module).__name__)}; return an nnx.Module.")
  return module


def _check_takes_rngs(build: Any) -> None:
  is_class = isinstance(build, type)
  if not callable(build) or isinstance(build, nnx.Module) or (is_class and not issubclass(build, nnx.Module)):
    hint = "give its class, or a function that builds it: lambda rngs: Network(8, rngs=rngs)"
    raise InputError(f"network is {shown(type(build).__name__)}, which is no function of nnx.Rngs; {hint}.")
  try:
    inspect.signature(build.__init__ if is_class else build).bind(*(None,) * is_class, nnx.Rngs)
  except TypeError as e:
    hint = "it must take nnx.Rngs alone: lambda rngs: Network(8, rngs=rngs)"
    raise InputError(f"the function that builds the network does not fit ({first_line(e)}); {hint}.") from None
