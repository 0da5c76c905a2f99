"""The cells of DARTS, written as a user's network of choices, beside the built-in supernet: the time of a step of each.

  python -m benchmarks.choices [CHANNELS CELLS BATCH_SIZE STEPS]

Both have the same weights and the same batches. Their steps alternate, so that a busy machine slows both.
"""

import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import Linear
from dnas.cells.choices import Choice
from dnas.cells.functional import Variables
from dnas.cells.image_stack import ImageStack, Size
from dnas.cells.operations import OPERATIONS, OperationStack, Pool
from dnas.cells.registries import SPACES
from dnas.supernet import bilevel
from dnas.supernet.choice_network import SearchableNetwork
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.image_supernet import Config, ImageSupernet
from dnas.supernet.relaxations import Relaxation
from dnas.train import optimizers
from dnas.train.metrics import cross_entropy

SPACE = SPACES["darts_conv"]


class Operation(nnx.Module):
  """One operation of the package on one edge, as an option of a choice."""

  def __init__(self, name: str, channels: int, stride: int, rng: np.random.Generator):
    self.name, self.stack = name, OperationStack([name], 1, channels, stride, False, rng, SPACE.pool_norm)

  def __call__(self, x: jax.Array, pooled: Mapping[str, jax.Array], train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, H / stride, W / stride, C]."""
    return self.stack(x, train)[self.name][0]


class Pooled(nnx.Module):
  """A pooling operation as an option of a choice. All choices at one state share its output."""

  def __init__(self, name: str):
    self.name = name

  def __call__(self, x: jax.Array, pooled: Mapping[str, jax.Array], train: bool) -> jax.Array:
    """Returns the output of this operation."""
    return pooled[self.name][0]


class ChoiceEdges(nnx.Module):
  """The edges that leave a state, each a choice of operations. Cells of one type share the names of their choices."""

  def __init__(self, cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator):
    self.targets = tuple(target for origin, target in SPACE.edges if origin == source)
    pools = [name for name in SPACE.operations if isinstance(OPERATIONS[name], Pool)]
    self.pools = OperationStack(pools, 1, channels, stride, False, rng, SPACE.pool_norm) if self.targets else None

    def choice(target: int) -> Choice:
      options = {name: Pooled(name) if name in pools else Operation(name, channels, stride, rng) for name in SPACE.operations}
      return Choice(f"{cell_type}_{source}_{target}", options)

    self.choices = nnx.List([choice(target) for target in self.targets])

  def __call__(self, x: jax.Array, weights: None, train: bool) -> Mapping[int, jax.Array]:
    """Maps a state to the output of every edge."""
    pooled = functional.call_segment(self.pools, x, train=train) if self.targets else {}
    return {target: choice(x, pooled, train) for target, choice in zip(self.targets, self.choices, strict=True)}


class ChoiceCells(nnx.Module):
  """The network of `ImageSupernet`, of choices."""

  def __init__(self, size: Size, rng: np.random.Generator):
    wirings = {cell_type: SPACE for cell_type in SPACE.cells}
    self.stack = ImageStack(wirings, ChoiceEdges, size, 3, affine=False, rng=rng)
    self.classifier = Linear(self.stack.widths[-1], 10, rng)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Returns logits, [B, classes]."""
    states = [None] * (SPACE.num_inputs + SPACE.num_nodes)
    return self.classifier(self.stack(images, lambda index, cell_type: states, train)[-1].mean((1, 2)))


def pair(size: Size) -> tuple[bilevel.LossFunction, Variables, bilevel.LossFunction, Variables]:
  """Returns loss and variables of the built-in supernet, and those of the network of choices with the same weights."""
  config = Config(channels=size.channels, cells=size.cells)
  built_in = ImageSupernet(config, SPACE, 3, 10, np.random.default_rng(0))
  network, initial = functional.split(built_in)
  searched = SearchableNetwork(lambda rngs: ChoiceCells(size, np.random.default_rng(0)))
  module = ChoiceCells(size, np.random.default_rng(0))
  carry_over(built_in, module)
  carried = functional.split_free(module)[1]

  def loss_of(logits: jax.Array, stats: Any, labels: jax.Array) -> Any:
    return cross_entropy(logits, labels).mean(), (stats, {"logits": logits})

  def loss(weights: Any, arch: Any, stats: Any, inputs: bilevel.LossInputs, key: jax.Array) -> Any:
    images, labels = inputs.batch
    return loss_of(*functional.apply(network, Variables(weights, stats), images, Relaxation().mean(arch), train=True), labels)

  def loss_of_choices(weights: Any, arch: Any, stats: Any, inputs: bilevel.LossInputs, key: jax.Array) -> Any:
    images, labels = inputs.batch
    mixture = Relaxation().mean(by_choice(arch))
    return loss_of(*searched.apply(Variables(weights, stats), mixture, images, key, train=True), labels)

  return loss, initial, loss_of_choices, carried


def by_choice(arch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns cell type to [edges, operations] as name of a choice to [1, operations]."""
  rows = {cell: jnp.split(values, len(values)) for cell, values in arch.items()}
  ends = list(enumerate(SPACE.edges))
  return {f"{cell}_{source}_{target}": rows[cell][row] for cell in SPACE.cells for row, (source, target) in ends}


def carry_over(built_in: ImageSupernet, module: ChoiceCells) -> None:
  """Copies the weights of the supernet into the network of choices. All stacks of edges are taken apart."""
  for theirs, ours in ((built_in.classifier, module.classifier), (built_in.stack, module.stack)):
    arrays, own = (dict(nnx.to_flat_state(nnx.state(part, nnx.Param))) for part in (theirs, ours))
    for path in set(arrays) & set(own):
      own[path].set_value(arrays[path][...])
    nnx.update(ours, nnx.from_flat_state(own))
  edges = [part for _, part in nnx.iter_modules(built_in) if hasattr(part, "mixing") and part.operations is not None]
  of_choices = [part for _, part in nnx.iter_modules(module) if isinstance(part, ChoiceEdges) and part.targets]
  for mixed, chosen in zip(edges, of_choices, strict=True):
    for row, choice in enumerate(chosen.choices):
      for name, operation in zip(choice.options, choice.modules, strict=True):
        if isinstance(operation, Operation):
          _carry_edge(mixed.operations, row, len(chosen.targets), name, operation.stack)


def _carry_edge(stack: OperationStack, row: int, edges: int, name: str, own: OperationStack) -> None:
  if name in stack.others:
    arrays, ours = (nnx.to_flat_state(nnx.state(part, nnx.Param)) for part in (stack.others[name], own.others[name]))
    values = {path: value for path, value in arrays}
    for path, variable in ours:
      share = values[path].shape[0] // edges
      variable.set_value(values[path][...][row * share : (row + 1) * share])
    nnx.update(own.others[name], nnx.from_flat_state(dict(ours)))
  for depth, layer in enumerate(own.layers):
    theirs = stack.layers[depth]
    names = [one for one in stack.separable if depth < len(OPERATIONS[one].layers)]
    column = names.index(name)
    layer.depthwise[0].set_value(theirs.depthwise[column][...][row : row + 1])
    layer.pointwise.set_value(theirs.pointwise[...][row * len(names) + column][None])


def problem_of(loss: bilevel.LossFunction, hypergradient: str) -> bilevel.BilevelProblem:
  """Returns the bilevel step; the architecture takes a step of plain gradient descent, so its change is the hypergradient."""
  method = bilevel.Method(Relaxation(), optax.sgd(1.0), HYPERGRADIENTS[hypergradient]())
  return bilevel.BilevelProblem(bilevel.compiled(loss), method, optimizers.sgd(momentum=0.9, weight_decay=3e-4, gradient_clip=5.0), 3e-4)


def state_of(problem: bilevel.BilevelProblem, variables: Variables, arch: Any) -> bilevel.SearchState:
  """Returns the state before the first step."""
  weight_state = optimizers.with_learning_rate(problem.weight_optimizer.init(variables.weights), 0.025)
  return bilevel.SearchState(variables.weights, variables.stats, arch, weight_state, problem.method.arch_optimizer.init(arch))


def inputs(batch_size: int, pixels: int = 32) -> tuple[Any, Any, Any]:
  """Returns an architecture, a training batch and a validation batch, all at random."""
  rng = np.random.default_rng(0)
  arch = {cell: jnp.asarray(rng.normal(size=SPACE.arch_shape()), jnp.float32) for cell in SPACE.cells}
  shape = (2, batch_size, pixels, pixels, 3)
  images, labels = rng.normal(size=shape).astype(np.float32), rng.integers(10, size=shape[:2])
  return arch, *((jnp.asarray(images[part]), jnp.asarray(labels[part])) for part in range(2))


def main(channels: str = "16", cells: str = "8", batch_size: str = "16", steps: str = "10") -> None:
  """Prints the median times of a first-order step, and their ratio."""
  losses = pair(Size(channels=int(channels), cells=int(cells)))
  arch, train, valid = inputs(int(batch_size))
  parts = [problem_of(loss, "first_order") for loss in (losses[0], losses[2])]
  states = [state_of(problem, variables, arch) for problem, variables in zip(parts, (losses[1], losses[3]), strict=True)]
  times: list[list[float]] = [[], []]
  for step in range(int(steps) + 1):
    for index, problem in enumerate(parts):
      began = time.perf_counter()
      states[index] = jax.block_until_ready(problem.step(states[index], train, valid, jax.random.key(step))[0])
      times[index].append(time.perf_counter() - began)
      if not step:
        print(f"{('built-in', 'choices')[index]}: first step {times[index][0]:.1f} s", flush=True)
  medians = [statistics.median(one[1:]) for one in times]
  ratios = sorted(mine / built_in for built_in, mine in zip(times[0][1:], times[1][1:], strict=True))
  print(f"built-in {1000 * medians[0]:.1f} ms, choices {1000 * medians[1]:.1f} ms, ratio {medians[1] / medians[0]:.3f}")
  print(f"ratios of neighbouring steps: {ratios[0]:.3f} to {ratios[-1]:.3f}, median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
  main(*sys.argv[1:])
