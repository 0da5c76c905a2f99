"""A macro search space: chains of convolutions of chosen kernel and width, with poolings and skips.

It is not a space of cells: an architecture is a whole network, and networks differ in depth. State 0 is the image, and state l is the
output of layer l, which reads state l - 1. A skip adds an earlier state of the same size to a convolution, before its ReLU. The layers
between two poolings are a stage. Source: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural
Networks" (NASH), 2017. Its networks are of this kind.

A genotype is that of one cell, 'chain', whose node l has the edge (operation, l - 1) first, and then an edge ('skip_connect', source) for
every skip. So it is written, read and drawn as the genotypes of cells are.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dnas.core import genotype as genotypes
from dnas.core.config import check, check_positive, check_types
from dnas.core.errors import InputError, shown
from dnas.core.genotype import CellGenotype, Edge, Genotype

CHAIN = "chain"
CONVOLUTIONS = ("conv", "sep_conv")
"""A dense convolution, and a depthwise with a pointwise one. A batch normalization, the sum with the skips and a ReLU follow."""
POOLINGS = ("max_pool", "avg_pool")
_SKIP, _WINDOW = "skip_connect", 2
_NAME = re.compile(r"(conv|sep_conv)_(\d{1,2})x(\d{1,2})_x(\d{1,4})|(max_pool|avg_pool)_2x2")


class Layer(NamedTuple):
  """A layer of a chain.

  Attributes:
    kind: one of CONVOLUTIONS or POOLINGS.
    kernel: rows and columns of the kernel; 2 for a pooling.
    width: channels, as a multiple of those of the network; 0 for a pooling, which keeps those of its input.
    skips: the earlier states that are added, ascending.
  """

  kind: str
  kernel: int
  width: int
  skips: tuple[int, ...] = ()

  @property
  def pools(self) -> bool:
    """Whether the layer is a pooling, which halves height and width."""
    return self.kind in POOLINGS

  def __str__(self) -> str:
    return f"{self.kind}_{self.kernel}x{self.kernel}" + ("" if self.pools else f"_x{self.width}")


class Edit(NamedTuple):
  """A change of one place of a chain; `ChainSpace.edited` makes it.

  Attributes:
    kind: what is changed; the morphism of this name (`nets.morphisms`) carries the weights over.
    layer: the layer that is changed, or after which one is inserted.
    value: of deeper the (kind, kernel) of the new layer; of wider and narrower the new width; of kernel_growth and kernel_shrinkage the new
      kernel; of skip and skip_removal the source; of operation_swap, cheaper_operation and other_pooling the new kind; of shallower None.
  """

  kind: str
  layer: int
  value: Any = None


def layers_of(genotype: Genotype) -> tuple[Layer, ...]:
  """Returns the layers of a genotype that `ChainSpace.validate` accepts."""
  found: list[Layer] = []
  for (operation, _), *skips in genotype[CHAIN].nodes:
    kind, rows, _, width, pooling = _NAME.fullmatch(operation).groups()  # pyright: ignore[reportOptionalMemberAccess]
    sources = tuple(source for _, source in skips)
    found.append(Layer(pooling, _WINDOW, 0) if pooling else Layer(kind, int(rows), int(width), sources))
  return tuple(found)


def widths_of(layers: Sequence[Layer]) -> list[int]:
  """Returns the width of every state; 0 for the image."""
  widths = [0]
  for layer in layers:
    widths.append(widths[-1] if layer.pools else layer.width)
  return widths


def tied_to(layers: Sequence[Layer], state: int) -> frozenset[int]:
  """Returns the states that have the width of a state because of poolings and skips, the state included."""
  links = [(number - 1, number) for number, layer in enumerate(layers, 1) if layer.pools]
  links += [(source, number) for number, layer in enumerate(layers, 1) for source in layer.skips]
  tied = {state}
  while more := {end for link in links if tied & set(link) for end in link} - tied:
    tied |= more
  return frozenset(tied)


@dataclasses.dataclass(frozen=True)
class ChainSpace:
  """The chains with a number of poolings, at least one convolution in every stage, and at most `most_convolutions` in all.

  Attributes:
    name: the name that genotypes carry.
    kernels: the odd numbers of rows and columns that kernels may have, ascending.
    widths: the widths that convolutions may have, as multiples of the channels of the network, ascending.
    num_poolings: number of poolings.
    most_convolutions: largest number of convolutions.
    sampled_convolutions: largest number of convolutions of a stage in a chain that is drawn at random.

  Invalid fields raise FieldError.
  """

  name: str
  kernels: tuple[int, ...] = (1, 3, 5, 7)
  widths: tuple[int, ...] = (1, 2, 4, 8, 16)
  num_poolings: int = 2
  most_convolutions: int = 40
  sampled_convolutions: int = 3

  def __post_init__(self):
    check_types(self)
    for field, values, most in (("kernels", self.kernels, 99), ("widths", self.widths, 9999)):
      rising = bool(values) and list(values) == sorted(set(values)) and 0 < values[0] and values[-1] <= most
      check(rising, field, shown(values), f"give rising numbers from 1 to {most}, at least one")
    check(all(size % 2 for size in self.kernels), "kernels", shown(self.kernels), "a kernel has a middle, so give odd numbers")
    check_positive(sampled_convolutions=self.sampled_convolutions)
    check(0 <= self.num_poolings <= 20, "num_poolings", self.num_poolings, "give 0 to 20")
    least = (self.num_poolings + 1) * self.sampled_convolutions
    check(least <= self.most_convolutions <= 1000, "most_convolutions", self.most_convolutions, f"give {least} to 1000")

  @property
  def num_inputs(self) -> int:
    """The number of states that a drawing begins with: the image."""
    return 1

  def smallest(self) -> Genotype:
    """Returns the chain with one convolution in every stage, dense and of the least width, with the kernel next to 3, and maxima."""
    convolution = Layer("conv", min(self.kernels, key=lambda size: abs(size - 3)), self.widths[0])
    return self.make([convolution, *(Layer("max_pool", _WINDOW, 0), convolution) * self.num_poolings])

  def make(self, layers: Sequence[Layer]) -> Genotype:
    """Returns the genotype of layers. Raises InputError if they are no chain of this space."""
    nodes = tuple(
      (Edge(str(layer), number), *(Edge(_SKIP, source) for source in layer.skips)) for number, layer in enumerate(layers)
    )
    return self.validate(Genotype(self.name, ((CHAIN, CellGenotype(nodes, (len(layers),))),)))

  def validate(self, genotype: Genotype, operations: tuple[str, ...] | None = None, where: str = "genotype") -> Genotype:
    """Checks that a genotype is a chain of this space, and returns it. Raises InputError if not; `operations` is not used."""
    if genotype.space != self.name or [name for name, _ in genotype.cells] != [CHAIN]:
      raise InputError(f"{where}: {shown(str(genotype))} is no architecture of space '{self.name}'; give one with the cell '{CHAIN}'.")
    nodes = genotype[CHAIN].nodes
    for number, node in enumerate(nodes, 1):
      self._check_node(number, node, f"{where}, layer {number}")
    if genotype[CHAIN].concat != (len(nodes),):
      raise InputError(f"{where}: concat is {shown(genotype[CHAIN].concat)}; the last layer is the output, so give [{len(nodes)}].")
    layers = layers_of(genotype)
    widths, stage, filled = widths_of(layers), 1, False
    for number, layer in enumerate(layers, 1):
      for source in layer.skips:
        if not stage <= source < number or widths[source] != layer.width:
          hint = f"a skip reads a state of this stage, {stage} to {number - 1}, of the width {layer.width}"
          raise InputError(f"{where}, layer {number}: it has a skip from state {source}; {hint}.")
      if layer.pools and not filled:
        raise InputError(f"{where}, layer {number}: no convolution stands before this pooling in its stage; give it one.")
      stage, filled = (number, False) if layer.pools else (stage, True)
    poolings = sum(layer.pools for layer in layers)
    if poolings != self.num_poolings or not filled:
      raise InputError(f"{where}: it has {poolings} poolings; give {self.num_poolings}, with a convolution before and after each.")
    if len(layers) - poolings > self.most_convolutions:
      raise InputError(f"{where}: it has {len(layers) - poolings} convolutions; give at most {self.most_convolutions}.")
    return genotype

  def _check_node(self, number: int, node: tuple[Edge, ...], where: str) -> None:
    if not node or node[0].source != number - 1:
      raise InputError(f"{where}: its first edge is {shown(node[:1])}; a layer reads the state before it, here {number - 1}.")
    found = _NAME.fullmatch(node[0].operation)
    known = found is not None and (found[5] or (found[2] == found[3] and int(found[2]) in self.kernels and int(found[4]) in self.widths))
    if not known:
      hint = f"write conv_KxK_xW or sep_conv_KxK_xW, with K of {self.kernels} and W of {self.widths}, max_pool_2x2 or avg_pool_2x2"
      raise InputError(f"{where}: unknown operation {shown(node[0].operation)}; {hint}.")
    sources = [source for _, source in node[1:]]
    rising = sources == sorted(set(sources)) and all(operation == _SKIP for operation, _ in node[1:])
    if not rising or (found and found[5] and sources):
      raise InputError(f"{where}: its further edges are {shown(node[1:])}; a convolution may have '{_SKIP}' from rising states.")

  def parse(self, value: str | Mapping[str, Any], where: str = "genotype") -> Genotype:
    """Reads a genotype in the forms of `core.genotype.parse` or the form of `notation`. `validate` checks it.

    Raises:
      InputError: if the value is no genotype.
    """
    if not (isinstance(value, str) and value.lstrip().startswith("|")):
      return genotypes.parse(value, self.name, (), where)
    nodes: list[tuple[Edge, ...]] = []
    for number, part in enumerate(value.strip().strip("|").split("|")):
      operation, *sources = part.strip().split("+")
      if not all(re.fullmatch(r"[0-9]{1,4}", source) for source in sources):
        raise InputError(f"{where}: {shown(part)} is not a layer; write |operation| or |operation+source|, such as |conv_3x3_x2+1|.")
      nodes.append((Edge(operation, number), *(Edge(_SKIP, int(source)) for source in sources)))
    return Genotype(self.name, ((CHAIN, CellGenotype(tuple(nodes), (len(nodes),))),))

  def notation(self, genotype: Genotype) -> str:
    """Returns an architecture as one line: |conv_3x3_x1|max_pool_2x2|conv_3x3_x2+2|, where +2 is a skip from state 2. `parse` reads it."""
    return f"|{'|'.join('+'.join([str(layer), *map(str, layer.skips)]) for layer in layers_of(genotype))}|"

  def sample(self, rng: np.random.Generator) -> Genotype:
    """Draws a chain. Uniform are the number of convolutions of a stage, their kinds, kernels and widths, and the kind of a pooling.

    A convolution that can have a skip has one with probability 1/2, from a state drawn uniformly.
    """
    layers: list[Layer] = []
    for stage in range(self.num_poolings + 1):
      if stage:
        layers.append(Layer(POOLINGS[rng.integers(2)], _WINDOW, 0))
      for _ in range(int(rng.integers(1, self.sampled_convolutions + 1))):
        layers.append(Layer(CONVOLUTIONS[rng.integers(2)], int(rng.choice(self.kernels)), int(rng.choice(self.widths))))
        sources = _sources(layers, len(layers))
        if sources and rng.random() < 0.5:
          layers[-1] = layers[-1]._replace(skips=(int(rng.choice(sources)),))
    return self.make(layers)

  def edits(self, genotype: Genotype) -> tuple[Edit, ...]:
    """Returns all edits of a chain, in a fixed order. Widths change by up to two steps of `widths`, kernels by one of `kernels`."""
    layers, found = layers_of(genotype), list[Edit]()
    widths, deepens = widths_of(layers), sum(not layer.pools for layer in layers) < self.most_convolutions
    for number, layer in enumerate(layers, 1):
      found += [Edit("deeper", number, (kind, kernel)) for kind in CONVOLUTIONS for kernel in self.kernels if deepens]
      if layer.pools:
        found += [Edit("other_pooling", number, kind) for kind in POOLINGS if kind != layer.kind]
        continue
      if widths[number - 1] == layer.width and not self._is_alone(layers, number):
        found.append(Edit("shallower", number))
      if number == min(tied_to(layers, number)):  # one edit for all states that have this width together
        near = self.widths.index(layer.width)
        found += [Edit("wider", number, width) for width in self.widths[near + 1 : near + 3]]
        found += [Edit("narrower", number, width) for width in self.widths[max(near - 2, 0) : near]]
      near = self.kernels.index(layer.kernel)
      found += [Edit("kernel_growth", number, kernel) for kernel in self.kernels[near + 1 : near + 2]]
      found += [Edit("kernel_shrinkage", number, kernel) for kernel in self.kernels[max(near - 1, 0) : near]]
      found += [Edit("skip", number, source) for source in _sources(layers, number) if source not in layer.skips]
      found += [Edit("skip_removal", number, source) for source in layer.skips]
      other = {"sep_conv": ("operation_swap", "conv"), "conv": ("cheaper_operation", "sep_conv")}[layer.kind]
      found.append(Edit(other[0], number, other[1]))
    return tuple(found)

  @staticmethod
  def _is_alone(layers: Sequence[Layer], number: int) -> bool:
    """Returns whether a convolution is the only one of its stage."""
    before, after = layers[number - 2].pools if number > 1 else True, layers[number].pools if number < len(layers) else True
    return before and after

  def edited(self, genotype: Genotype, edit: Edit) -> Genotype:
    """Returns the chain after an edit. Raises InputError if that is no chain of this space."""
    layers, (kind, number, value) = list(layers_of(genotype)), edit
    layer = layers[number - 1]
    if kind == "deeper":
      new_kind, kernel = value
      layers.insert(number, Layer(new_kind, kernel, widths_of(layers)[number]))
      after = [one._replace(skips=tuple(source + (source > number) for source in one.skips)) for one in layers[number + 1 :]]
      layers[number + 1 :] = after
    elif kind == "shallower":
      del layers[number - 1]
      shifted = [sorted({source - (source >= number) for source in one.skips}) for one in layers[number - 1 :]]
      layers[number - 1 :] = [one._replace(skips=tuple(skips)) for one, skips in zip(layers[number - 1 :], shifted, strict=True)]
    elif kind in ("wider", "narrower"):
      for state in tied_to(layers, number):
        layers[state - 1] = layers[state - 1] if layers[state - 1].pools else layers[state - 1]._replace(width=value)
    elif kind in ("skip", "skip_removal"):
      others = set(layer.skips) - {value}
      layers[number - 1] = layer._replace(skips=tuple(sorted(others | {value} if kind == "skip" else others)))
    else:
      field = "kernel" if kind.startswith("kernel") else "kind"
      layers[number - 1] = layer._replace(**{field: value})
    return self.make(layers)

  def neighbours(self, genotype: Genotype) -> tuple[Genotype, ...]:
    """Returns the other chains that one edit leads to, ordered by edit. Raises InputError if the genotype is of another space."""
    self.validate(genotype)
    found = dict.fromkeys(self.edited(genotype, edit) for edit in self.edits(genotype))
    return tuple(other for other in found if other != genotype)

  def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
    """Returns the chain after one edit. Its kind is drawn uniformly from those that are possible, and then the edit.

    Raises:
      InputError: if the genotype is of another space.
    """
    self.validate(genotype)
    edits = self.edits(genotype)
    kinds = list(dict.fromkeys(edit.kind for edit in edits))
    kind = kinds[rng.integers(len(kinds))]
    of_kind = [edit for edit in edits if edit.kind == kind]
    return self.edited(genotype, of_kind[rng.integers(len(of_kind))])


def _sources(layers: Sequence[Layer], number: int) -> list[int]:
  """Returns the states that a skip into a convolution may read."""
  first = max((one for one, layer in enumerate(layers[: number - 1], 1) if layer.pools), default=1)
  widths = widths_of(layers)
  return [state for state in range(first, number) if widths[state] == layers[number - 1].width]


