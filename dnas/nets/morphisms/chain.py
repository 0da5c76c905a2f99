"""The morphisms of chains of convolutions: how the arrays of a network follow an edit of its architecture.

Sources: Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016 (wider, deeper); Wei et al., "Network Morphism", ICML 2016 (kernel growth);
Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017 (skips by convex sum);
the same, "Efficient Multi-objective Neural Architecture Search via Lamarckian Evolution" (LEMONADE), ICLR 2019 (approximate morphisms);
Cai et al., "Efficient Architecture Search by Network Transformation" (EAS), AAAI 2018 (statistics of inserted normalizations, noise).

An exact morphism leaves the function of the network as it is. The momentum of the optimizer is a sum of gradients, so it follows the map of
the gradients. For instance, the gradient of a channel is divided among its copies. New weights begin with a momentum of zero.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dnas.cells.blocks import BATCH_NORM_EPSILON
from dnas.core.chain_space import Edit, Layer, tied_to
from dnas.core.registry import Registry

Arrays = dict[str, np.ndarray]
"""The arrays of a layer by name: kernel [k, k, C, D], or depthwise [1, k, k, C] and pointwise [C, D]; scale, bias, mean and variance
[1, D] of the normalization; skip_weights [skips]; state_mean and state_variance [1, D], the moments of the output over a batch. Momentum
has neither statistics nor moments. The classifier comes last, with kernel [D, classes] and bias [classes]."""

FILTERS = ("kernel", "pointwise")
VECTORS = ("scale", "bias")
STATISTICS = ("mean", "variance", "state_mean", "state_variance")


@dataclasses.dataclass
class Chain:
  """The arrays of a chain, which morphisms change in place; the arrays themselves are never written to.

  Attributes:
    layers: the architecture now.
    weights: the arrays of every layer, then those of the classifier.
    momentum: the arrays of the momentum in the same order; None if the optimizer has none.
    channels: channels of a layer of width 1.
  """

  layers: tuple[Layer, ...]
  weights: list[Arrays]
  momentum: list[Arrays] | None
  channels: int

  def sides(self) -> Iterator[tuple[list[Arrays], bool]]:
    """Yields the weights, and the momentum if there is one, each with whether it holds sums of gradients."""
    yield self.weights, False
    if self.momentum is not None:
      yield self.momentum, True


class Draws(NamedTuple):
  """The random draws of a morphism.

  Attributes:
    rng: draws the channels that are copied, and the noise.
    noise: standard deviation of the noise in the kernels of new copies, as a fraction of that of the kernel. Without noise a copy gets the
      same gradients as its original, and both stay equal.
  """

  rng: np.random.Generator
  noise: float = 0.0


Carry = Callable[[Chain, Edit, Draws], None]


@dataclasses.dataclass(frozen=True)
class Morphism:
  """How arrays follow an edit of one kind.

  Attributes:
    exact: whether the network computes the same function as before in inference. In training, where normalizations take the statistics of
      the batch, the function is the same on the batch that gave the moments, and nearly the same on others.
    carry: changes the arrays of a chain for an edit. `Chain.layers` is still the architecture before the edit.
  """

  exact: bool
  carry: Carry


MORPHISMS: Registry[Morphism] = Registry("morphism")
"""Morphisms of chains by the kinds of edits of `ChainSpace`."""


def morphism(name: str, exact: bool) -> Callable[[Carry], Carry]:
  """Returns a decorator that registers the function `carry` of a `Morphism`."""

  def add(carry: Carry) -> Carry:
    MORPHISMS.register(name)(Morphism(exact, carry))
    return carry

  return add


@morphism("deeper", exact=True)
def deeper(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Inserts a convolution that is the identity. States are at least 0, so its ReLU changes nothing.

  Its normalization has the moments of its input over a batch as statistics, and undoes them by its scale and bias. So it is the identity in
  inference, and on this batch in training too.
  """
  (kind, size), before = edit.value, chain.weights[edit.layer - 1]
  mean, variance = before["state_mean"], before["state_variance"]
  eye = np.eye(mean.shape[-1], dtype=mean.dtype)
  delta = np.zeros((1, size, size, len(eye)), mean.dtype)
  delta[:, size // 2, size // 2] = 1
  new = {"kernel": delta[0, ..., None] * eye} if kind == "conv" else {"depthwise": delta, "pointwise": eye}
  new |= {"scale": np.sqrt(variance + BATCH_NORM_EPSILON), "bias": mean}
  if chain.momentum is not None:
    chain.momentum.insert(edit.layer, {name: np.zeros_like(value) for name, value in new.items()})
  chain.weights.insert(edit.layer, new | dict(zip(STATISTICS, (mean, variance) * 2, strict=True)))


def _rechannelled(chain: Chain, states: frozenset[int], indices: np.ndarray, shares: np.ndarray) -> None:
  """Gives tied states new channels: channel j is the old channel `indices[j]`, and consumers weigh it by `shares[j]`.

  Gradients go the other way: those of the producers of a copy are weighed, and those of its consumers are not.
  """
  for arrays, of_gradients in chain.sides():
    made, read = (shares, np.ones_like(shares)) if of_gradients else (np.ones_like(shares), shares)
    for state in states:
      own = arrays[state - 1]
      own |= {name: _times(own[name][..., indices], made) for name in (*FILTERS, *VECTORS) if name in own}
      own |= {name: own[name][..., indices] for name in STATISTICS if name in own}
    for own in _consumers(chain, arrays, states):
      if "depthwise" in own:  # widened in place, as a producer; the pointwise kernel is the consumer
        own["depthwise"] = _times(own["depthwise"][..., indices], made)
      name = "pointwise" if "pointwise" in own else "kernel"
      own[name] = _times(own[name][..., indices, :], read[:, None])


def _times(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
  return (x * factor).astype(x.dtype)


def _consumers(chain: Chain, arrays: list[Arrays], states: frozenset[int]) -> list[Arrays]:
  """Returns the arrays of the convolutions that read the states, and those of the classifier if it reads one of the states."""
  pools = [*(layer.pools for layer in chain.layers), False]
  return [arrays[state] for state in sorted(states) if not pools[state]]


def _channels_of(chain: Chain, state: int) -> int:
  return chain.weights[state - 1]["state_mean"].shape[-1]


@morphism("wider", exact=True)
def wider(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Copies channels drawn at random. Consumers divide the weight of a channel by the number of its copies, the original included.

  States that poolings and skips tie to the widened one get the same copies. The kernels of new copies get noise.
  """
  states = tied_to(chain.layers, edit.layer)
  old = _channels_of(chain, edit.layer)
  indices = np.concatenate([np.arange(old), draws.rng.integers(old, size=edit.value * chain.channels - old)])
  _rechannelled(chain, states, indices, 1 / np.bincount(indices)[indices])
  for own in [chain.weights[state - 1] for state in sorted(states)] if draws.noise else []:
    for name in [name for name in FILTERS if name in own]:
      noise = draws.noise * own[name].std() * draws.rng.normal(size=own[name].shape)
      noise[..., :old] = 0
      own[name] = (own[name] + noise).astype(own[name].dtype)


@morphism("narrower", exact=False)
def narrower(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Keeps the channels that contribute most: by their second moment, times the sum of their squared weights in all consumers."""
  states = tied_to(chain.layers, edit.layer)
  moments = sum(np.square(own["state_mean"][0]) + own["state_variance"][0] for own in (chain.weights[state - 1] for state in states))
  kernels = [own["pointwise" if "pointwise" in own else "kernel"] for own in _consumers(chain, chain.weights, states)]
  weights = sum(np.square(kernel).sum(axis=(*range(kernel.ndim - 2), -1)) for kernel in kernels)
  kept = np.sort(np.argsort(-np.asarray(moments * weights), kind="stable")[: edit.value * chain.channels])
  _rechannelled(chain, states, kept, np.ones(len(kept)))


@morphism("shallower", exact=False)
def shallower(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Leaves out a convolution. Skips from its output now start at its input. Two skips that so become one have the sum of the weights."""
  for arrays, _ in chain.sides():
    del arrays[edit.layer - 1]
    for layer, own in zip(chain.layers[edit.layer :], arrays[edit.layer - 1 :], strict=False):
      sources = [source - (source >= edit.layer) for source in layer.skips]
      merged = [sum(own["skip_weights"][i] for i, one in enumerate(sources) if one == source) for source in sorted(set(sources))]
      own |= {"skip_weights": np.asarray(merged, own["skip_weights"].dtype)} if sources else {}


@morphism("kernel_growth", exact=True)
def kernel_growth(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Surrounds the kernel with zeros."""
  around = (edit.value - chain.layers[edit.layer - 1].kernel) // 2
  for arrays, _ in chain.sides():
    own = arrays[edit.layer - 1]
    name, rows = ("kernel", 0) if "kernel" in own else ("depthwise", 1)
    own[name] = np.pad(own[name], [(around, around) if axis in (rows, rows + 1) else (0, 0) for axis in range(own[name].ndim)])


@morphism("kernel_shrinkage", exact=False)
def kernel_shrinkage(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Cuts the border of the kernel off."""
  size = chain.layers[edit.layer - 1].kernel
  inner = slice((size - edit.value) // 2, (size + edit.value) // 2)
  for arrays, _ in chain.sides():
    own = arrays[edit.layer - 1]
    own |= {"kernel": own["kernel"][inner, inner]} if "kernel" in own else {"depthwise": own["depthwise"][:, inner, inner]}


@morphism("skip", exact=True)
def skip(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Adds a skip whose weight in the convex sum is zero. Its gradient is not zero."""
  before = chain.layers[edit.layer - 1].skips
  for arrays, _ in chain.sides():
    own, place = arrays[edit.layer - 1], sum(source < edit.value for source in before)
    own["skip_weights"] = np.insert(own.get("skip_weights", np.zeros(0, own["scale"].dtype)), place, 0)


@morphism("skip_removal", exact=False)
def skip_removal(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Removes a skip, and its weight from the convex sum."""
  before = chain.layers[edit.layer - 1].skips
  for arrays, _ in chain.sides():
    weights = np.delete(arrays[edit.layer - 1].pop("skip_weights"), before.index(edit.value))
    arrays[edit.layer - 1] |= {"skip_weights": weights} if weights.size else {}


@morphism("operation_swap", exact=True)
def operation_swap(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Turns a separable convolution into a dense one, whose kernel is the product of the depthwise and the pointwise kernel.

  This is exact, since no normalization and no ReLU stands between the two. The momentum of the new kernel begins at zero.
  """
  for arrays, of_gradients in chain.sides():
    own = arrays[edit.layer - 1]
    kernel = own.pop("depthwise")[0][..., None] * own.pop("pointwise")
    own["kernel"] = np.zeros_like(kernel) if of_gradients else kernel


@morphism("cheaper_operation", exact=False)
def cheaper_operation(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Turns a dense convolution into the nearest separable one: for each input channel the best approximation of rank one.

  The momentum of the new kernels begins at zero.
  """
  for arrays, of_gradients in chain.sides():
    own = arrays[edit.layer - 1]
    kernel = own.pop("kernel")
    size, _, channels, width = kernel.shape
    left, values, right = np.linalg.svd(kernel.reshape(-1, channels, width).swapaxes(0, 1), full_matrices=False)
    root = np.sqrt(values[:, :1]) * (not of_gradients)
    own["depthwise"] = (left[:, :, 0] * root).T.reshape(1, size, size, channels).astype(kernel.dtype)
    own["pointwise"] = (right[:, 0] * root).astype(kernel.dtype)


@morphism("other_pooling", exact=False)
def other_pooling(chain: Chain, edit: Edit, draws: Draws) -> None:
  """Changes the kind of a pooling, which has no weights."""
