"""The edits that lead from one chain to another, in an order in which every step is a chain, and as few of them approximate as can be."""

import dataclasses
import itertools
from typing import NamedTuple

from dnas.core.chain_space import ChainSpace, Edit, Layer, layers_of, widths_of
from dnas.core.genotype import Genotype

_KEPT = 12  # pairings that are followed at each place
_INSERTED, _LOST = 2.0, 20.0
_EXACT, _APPROXIMATE = 1.0, 6.0


class _Pairing(NamedTuple):
  """Which layers of a stage become which ones of another chain.

  Attributes:
    cost: what the edits cost so far; approximate ones cost more.
    pairs: (layer before, layer after), ascending; layers are counted through the whole chain, from 1.
  """

  cost: float
  pairs: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class _Ends:
  """Two chains, with the widths of their states."""

  before: tuple[Layer, ...]
  after: tuple[Layer, ...]

  def change(self, old: int, new: int, pairs: tuple[tuple[int, int], ...]) -> float:
    """Returns the cost of turning layer `old` into layer `new`; the earlier layers of the stage are paired already."""
    one, other, states = self.before[old - 1], self.after[new - 1], dict(pairs)
    cost = _step(one.kernel, other.kernel) + _step(one.width, other.width)
    cost += 0 if one.kind == other.kind else _EXACT if one.kind == "sep_conv" else _APPROXIMATE
    kept = [source for source in one.skips if states.get(source) in other.skips]
    return cost + _APPROXIMATE * (len(one.skips) - len(kept)) + 0.1 * (len(other.skips) - len(kept))

  def insertion(self, after_state: int, new: int) -> float:
    """Returns the cost of inserting layer `new` behind a state of the chain before."""
    return _INSERTED + _step(widths_of(self.before)[after_state], self.after[new - 1].width)


def _step(old: int, new: int) -> float:
  return 0.0 if old == new else _EXACT if old < new else _APPROXIMATE


def _stages(layers: tuple[Layer, ...]) -> list[tuple[int, int]]:
  """Returns (state that opens the stage, last layer of the stage) of every stage."""
  poolings = [number for number, layer in enumerate(layers, 1) if layer.pools]
  return list(zip([0, *poolings], [*(number - 1 for number in poolings), len(layers)], strict=True))


def _paired(ends: _Ends, old: tuple[int, int], new: tuple[int, int]) -> tuple[tuple[int, int], ...]:
  """Returns the cheapest pairing of the convolutions of two stages. The opening states are a pair, unless they are the images."""
  (first, last), (first_new, last_new) = old, new
  opened = ((first, first_new),) if first else ()
  best: dict[tuple[int, int], list[_Pairing]] = {(first, first_new): [_Pairing(0.0, opened)]}
  for place in itertools.product(range(first, last + 1), range(first_new, last_new + 1)):
    one, other = place
    found = list(best.get(place, []))
    if one > first and other > first_new:
      for cost, pairs in best.get((one - 1, other - 1), []):
        found.append(_Pairing(cost + ends.change(one, other, pairs), (*pairs, (one, other))))
    if one > 0 and other > first_new:  # nothing is inserted before the first convolution, as images are not rectified
      found += [_Pairing(cost + ends.insertion(one, other), pairs) for cost, pairs in best.get((one, other - 1), [])]
    if one > 1 and one > first:
      found += [_Pairing(cost + _LOST, pairs) for cost, pairs in best.get((one - 1, other), [])]
    best[place] = sorted(found, key=lambda pairing: pairing.cost)[:_KEPT]
  return min(best[last, last_new], key=lambda pairing: pairing.cost).pairs


class Step(NamedTuple):
  """An edit on the way, and the layers after it."""

  edit: Edit
  layers: tuple[Layer, ...]


class _Walk:
  """Edits a chain step by step, and notes the steps."""

  def __init__(self, space: ChainSpace, start: Genotype):
    self.space, self.genotype, self.steps = space, start, list[Step]()

  def __call__(self, kind: str, layer: int, value: object = None) -> None:
    edit = Edit(kind, layer, value)
    self.genotype = self.space.edited(self.genotype, edit)
    self.steps.append(Step(edit, self.layers))

  @property
  def layers(self) -> tuple[Layer, ...]:
    return layers_of(self.genotype)

  def set_width(self, layer: int, width: int) -> None:
    old = self.layers[layer - 1].width
    if old != width:
      self("wider" if width > old else "narrower", layer, width)


def path(space: ChainSpace, start: Genotype, goal: Genotype) -> tuple[Step, ...]:
  """Returns the steps that turn one chain of a space into another, one after the other (`ChainSpace.edited`).

  Layers of the same stage are paired such that the edits cost least. An approximate edit costs more than some exact ones.
  """
  roomy = dataclasses.replace(space, most_convolutions=1000)  # layers are inserted before others leave
  ends, walk = _Ends(layers_of(start), layers_of(goal)), _Walk(roomy, start)
  stages = zip(_stages(ends.before), _stages(ends.after), strict=True)
  pairs = dict(itertools.chain.from_iterable(_paired(ends, old, new) for old, new in stages))
  for number, layer in enumerate(ends.before, 1):
    for source in layer.skips:
      if number not in pairs or pairs.get(source) not in ends.after[pairs[number] - 1].skips:
        walk("skip_removal", number, source)
  origins = [pairs.get(number) for number in range(1, len(ends.before) + 1)]  # which layer of the goal each layer becomes; None for none
  for number in range(1, len(ends.after) + 1):
    if number not in origins:
      behind = origins.index(number - 1) + 1
      walk("deeper", behind, (ends.after[number - 1].kind, ends.after[number - 1].kernel))
      origins.insert(behind, number)
  for place in reversed([place for place, origin in enumerate(origins, 1) if origin is None]):
    walk.set_width(place, widths_of(walk.layers)[place - 1])
    walk("shallower", place)
  for place, layer in enumerate(ends.after, 1):
    if layer.pools:
      if layer.kind != walk.layers[place - 1].kind:
        walk("other_pooling", place, layer.kind)
      continue
    walk.set_width(place, layer.width)
    kind, kernel, _, _ = walk.layers[place - 1]
    if kernel != layer.kernel:
      walk("kernel_growth" if kernel < layer.kernel else "kernel_shrinkage", place, layer.kernel)
    if kind != layer.kind:
      walk("cheaper_operation" if kind == "conv" else "operation_swap", place, layer.kind)
  for place, layer in enumerate(ends.after, 1):
    for source in layer.skips:
      if source not in walk.layers[place - 1].skips:
        walk("skip", place, source)
  assert walk.genotype == goal
  return tuple(walk.steps)
