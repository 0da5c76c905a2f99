"""Evaluation by a hypernetwork: one network generates the weights of any architecture of a space, and is trained on random architectures.

Sources: Zhang, Ren and Urtasun, "Graph HyperNetworks for Neural Architecture Search", ICLR 2019. The simplest form, `encoder=flat`, is from
Brock et al., "SMASH: One-Shot Model Architecture Search through HyperNetworks", ICLR 2018. Evaluation takes batch statistics, as in Knyazev
et al., "Parameter Prediction for Unseen Deep Architectures", NeurIPS 2021.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import Linear, on_device
from dnas.compiler.functions import Loss, assembled, compiled
from dnas.core import keys
from dnas.core.config import check_at_most, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.space import CellSpace
from dnas.data import base, batches
from dnas.evaluate.architecture_graph import ENCODERS, Graph, graph_of, shape_of
from dnas.evaluate.paths import PathTask
from dnas.supernet import image_supernet
from dnas.supernet.edges import MixedEdges
from dnas.train import optimizers
from dnas.train.image_pipeline import Evaluate
from dnas.train.images import TrainState
from dnas.train.metrics import correct, cross_entropy

IDLE = {"passes": lambda config: config.encoder == "flat"}
"""Fields of a `Config` that may have no effect, and whether they have none."""

Tree = Any
Path = tuple[Any, ...]
"""Where an array is in a tree of weights: keys from the root on."""


@dataclasses.dataclass(frozen=True)
class Config:
  """A hypernetwork, and how it is trained.

  Attributes:
    encoder: how the architecture is read. graph passes messages over the graph of the cell; flat is a perceptron of the whole encoding.
    width: width of the state of an operation.
    passes: how often messages pass over the graph, forwards and backwards each time.
    decoder_width: width of the hidden layer between a state and the generated weights.
    epochs: passes over the data that train the hypernetwork; every batch trains it on another random architecture.
    learning_rate: learning rate of Adam at the start; it falls to final_learning_rate along a cosine, epoch by epoch.
    final_learning_rate: learning rate that the cosine ends in.
    weight_decay: coefficient of the L2 penalty on the weights of the hypernetwork.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
  """

  encoder: str = named("graph", lambda: ENCODERS)
  width: int = 32
  passes: int = 5
  decoder_width: int = 64
  epochs: int = 300
  learning_rate: float = 1e-3
  final_learning_rate: float = 0.0
  weight_decay: float = 1e-5
  gradient_clip: float = 5.0

  def __post_init__(self):
    check_types(self)
    check_name("encoder", self.encoder, ENCODERS)
    check_positive(width=self.width, passes=self.passes, decoder_width=self.decoder_width, epochs=self.epochs)
    check_positive(learning_rate=self.learning_rate)
    check_at_most(10**4, width=self.width, passes=self.passes, decoder_width=self.decoder_width)
    check_at_most(10**5, epochs=self.epochs)
    check_not_negative(final_learning_rate=self.final_learning_rate, weight_decay=self.weight_decay, gradient_clip=self.gradient_clip)


class Kernel(NamedTuple):
  """An array of the supernet that is generated.

  Attributes:
    path: where it is among the weights.
    shape: its shape.
    scale: the root mean square of its initial values, which the generated ones have too.
    states: the number of the state that generates each part, where the array is divided equally among them along its first axis. The last
      number of all is the mean over the graph, of which everything is generated that belongs to no edge.
    place: number of the place: the position of the cell, or that of the array if it belongs to no cell.
  """

  path: Path
  shape: tuple[int, ...]
  scale: float
  states: tuple[int, ...]
  place: int

  @property
  def size(self) -> int:
    """The number of values that one state generates."""
    return int(np.prod(self.shape)) // len(self.states)


def kernels_of(module: image_supernet.ImageSupernet, space: CellSpace, weights: Tree) -> list[Kernel]:
  """Returns all weights of a supernet that are generated: all but the scales and biases. Arrays of one size are neighbours."""
  types, nodes, _ = shape_of(space)
  modules = sorted((path, node) for path, node in _edges_of(module).items())
  cells = {path[:-1]: None for path, _ in modules}
  of_edges = {path: (list(cells).index(path[:-1]), node.targets) for path, node in modules}
  made = dict(zip(of_edges, module.edge_types, strict=True))
  found, others = [], itertools.count(len(cells))
  for keys_of_leaf, leaf in jax.tree_util.tree_leaves_with_path(weights):
    path = tuple(key.key for key in keys_of_leaf)
    if path[-1] in ("scale", "bias"):
      continue
    owner = next((prefix for prefix in of_edges if path[: len(prefix)] == prefix), None)
    states, place = (types * nodes,), None
    if owner is not None:
      place, targets = of_edges[owner]
      first = space.cells.index(made[owner]) * nodes + space.num_inputs
      states = tuple(first + space.edges.index((owner[-1], target)) for target in targets)
    scale = float(np.sqrt(np.mean(np.square(leaf))))
    found.append(Kernel(path, leaf.shape, scale, states, next(others) if place is None else place))
  return sorted(found, key=lambda kernel: kernel.size)


def _edges_of(module: image_supernet.ImageSupernet) -> dict[Path, MixedEdges]:
  return {path: node for path, node in nnx.iter_graph(module) if isinstance(node, MixedEdges)}


class Hypernetwork(nnx.Module):
  """Generates kernels: an encoder gives every edge of a cell a state, and a decoder makes the weights of the edge of it.

  The decoder is a perceptron of the state and of a trained vector for the place of the cell. Its hidden layer is shared by all arrays, its
  last layer by all of one size. A generated array is divided by its root mean square and has that of the initial weights, so its size does
  not depend on the architecture.
  """

  def __init__(self, config: Config, space: CellSpace, kernels: Sequence[Kernel], rng: np.random.Generator):
    self.encoder = ENCODERS[config.encoder](space, config.width, config.passes, rng)
    self.kernels = tuple(kernels)
    places = 1 + max(kernel.place for kernel in kernels)
    self.places = nnx.Param(on_device(rng.normal(size=(places, config.width))))
    self.hidden = Linear(2 * config.width, config.decoder_width, rng)
    self.last = nnx.Dict({str(size): Linear(config.decoder_width, size, rng) for size in {kernel.size: None for kernel in kernels}})

  def __call__(self, graph: Graph) -> list[jax.Array]:
    """Maps the graph of an architecture to the kernels, in their order."""
    states = self.encoder(graph)
    exists = graph.kinds.any(-1, keepdims=True).astype(states.dtype)
    mean = (states * exists).sum((0, 1)) / exists.sum((0, 1))
    states = jnp.concatenate([states.reshape(-1, states.shape[-1]), mean[None]])
    rows = np.array([state for kernel in self.kernels for state in kernel.states])
    places = np.array([kernel.place for kernel in self.kernels for _ in kernel.states])
    hidden = jax.nn.relu(self.hidden(jnp.concatenate([states[rows], self.places[...][places]], 1)))
    found, begin = [], 0
    for size, group in itertools.groupby(self.kernels, lambda kernel: kernel.size):
      of_size = list(group)
      end = begin + sum(len(kernel.states) for kernel in of_size)
      values = _normalized(self.last[str(size)](hidden[begin:end]))
      for kernel, part in zip(of_size, jnp.split(values, np.cumsum([len(kernel.states) for kernel in of_size])[:-1]), strict=True):
        found.append(kernel.scale * part.reshape(kernel.shape))
      begin = end
    return found


def _normalized(rows: jax.Array) -> jax.Array:
  """Divides every row, [rows, size], by its root mean square."""
  return rows * jax.lax.rsqrt(jnp.square(rows).mean(1, keepdims=True) + 1e-12)


class HypernetworkTask(PathTask):
  """Trains a hypernetwork on one architecture a step, drawn uniformly from its space (a `loop.Task`).

  The generated kernels are those of a supernet, whose mixture weights are one-hot. So one program serves all architectures. The scales and
  biases outside of the cells are trained as usual, and all architectures share them (as in SMASH). There are no running statistics:
  normalizations take the statistics of their batch, in evaluation too.
  """

  def __init__(
    self,
    config: Config,
    supernet: image_supernet.Config,
    data: base.Config,
    space: CellSpace,
    dataset: base.ImageDataset,
    seed: int,
  ):
    """Builds the task; `seed` determines the initial weights, the order of the data and the architectures."""
    super().__init__(config, data, space, dataset, seed, "architectures")
    valid = self._valid
    mixed = keys.generator(0, "order of the evaluation").permutation(len(valid))  # so that every batch of a sorted set has all classes
    self._valid_split = batches.to_device(base.Split(valid.images[mixed], valid.labels[mixed]))
    module = self._built(supernet, dataset)
    self.network, initial = functional.split(module)
    self.kernels = kernels_of(module, space, initial.weights)
    generator = Hypernetwork(config, space, self.kernels, keys.generator(seed, "hypernetwork"))
    self._hypernetwork, of_generator = functional.split(generator)
    self._stats = initial.stats
    generated = {kernel.path for kernel in self.kernels}
    leaves = jax.tree_util.tree_leaves_with_path(initial.weights)
    shared = {jax.tree_util.keystr(path): leaf for path, leaf in leaves if _names(path) not in generated}
    self._structure = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), initial.weights)
    self.initial = {"hypernetwork": of_generator.weights, "shared": shared}
    self._optimizer = optimizers.clipped_adam(weight_decay=config.weight_decay, gradient_clip=config.gradient_clip)
    self._gradient = Loss(self._loss, (0,)).gradient((0,))
    self._step, self._generate = assembled(self._take_step), compiled(self._generated)
    of_training = dataclasses.replace(data, eval_batch_size=data.batch_size)  # the size of a batch changes its statistics
    self._evaluate = Evaluate(self._predict, dataset, of_training, self._class_weights)

  def init(self) -> TrainState:
    """See `loop.Task`."""
    return TrainState(self.initial, {}, self._optimizer.init(self.initial), jax.random.key_data(self._key))

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    batch, path, rate = self._inputs(state, step)
    return self._step(state, batch, path, graph_of(self.space, path), rate)

  def generate(self, weights: Tree, path: Mapping[str, np.ndarray]) -> Tree:
    """Returns the weights of the supernet that the hypernetwork generates for one architecture, from `discretize.one_hot`."""
    return self._generate(weights, graph_of(self.space, path))

  def validate(self, weights: Tree, path: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns loss (nats) and accuracies (fractions, see `metrics.accuracies`) of one architecture over the validation split."""
    return self._evaluate((self.generate(weights, path), path), self._valid_split)

  def _generated(self, weights: Tree, graph: Graph) -> Tree:
    made, _ = functional.apply(self._hypernetwork, functional.Variables(weights["hypernetwork"], {}), graph)
    by_path = dict(zip((kernel.path for kernel in self.kernels), made, strict=True))

    def leaf(path: Path, like: jax.ShapeDtypeStruct) -> jax.Array:
      return by_path[_names(path)] if _names(path) in by_path else weights["shared"][jax.tree_util.keystr(path)]

    return jax.tree_util.tree_map_with_path(leaf, self._structure)

  def _loss(self, weights: Tree, batch: tuple[jax.Array, jax.Array], path: Tree, graph: Graph) -> tuple[jax.Array, Any]:
    images, labels = batch
    logits = self._predict((self._generated(weights, graph), path), images)
    loss = cross_entropy(logits, labels, self._class_weights).mean()
    return loss, {"loss": loss, "accuracy": correct(logits, labels).mean()}

  def _take_step(
    self, state: TrainState, batch: tuple[jax.Array, jax.Array], path: Tree, graph: Graph, learning_rate: jax.Array
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    (_, metrics), (gradient,) = self._gradient(state.weights, batch, path, graph)
    return self._after(state, gradient, state.stats, learning_rate), metrics

  def _predict(self, network: tuple[Tree, Tree], images: jax.Array) -> jax.Array:
    weights, path = network
    return functional.apply(self.network, functional.Variables(weights, self._stats), images, path, train=True)[0]


def _names(path: Path) -> Path:
  return tuple(key.key for key in path)
