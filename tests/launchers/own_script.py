"""A user's script: units of its own, and, when it is run, a launcher."""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.image_stack import ImageStack
from dnas.cells.operations import OPERATIONS
from dnas.cells.registries import SPACES, STACKS
from dnas.core.records import Evaluation
from dnas.core.space import CellSpace
from dnas.launchers._evaluator_makers import EVALUATORS
from dnas.search.blackbox.base import STRATEGIES
from dnas.search.blackbox.random_search import Config as RandomSearch
from dnas.search.gradient.methods import METHODS, DifferentiableMethod
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.supernet.relaxations import Relaxation
from dnas.train import optimizers


@OPERATIONS.register("own_conv")
def own_conv(edges: int, channels: int, stride: int, affine: bool, rng: np.random.Generator) -> nnx.Module:
  return nnx.Conv(channels, channels, (3, 3), strides=stride, rngs=nnx.Rngs(int(rng.integers(2**31))))


SPACE = CellSpace("own_space", ("cell",), ("skip_connect", "own_conv"), num_nodes=1, edges_per_node=1)
SPACES.register(SPACE.name)(SPACE)
STACKS.register(SPACE.name)(ImageStack)


@dataclasses.dataclass(frozen=True)
class Penalized(Relaxation):
  penalty_weight: float = 0.05

  def penalty(self, arch) -> jax.Array:
    return self.penalty_weight * sum(jnp.square(leaf).sum() for leaf in arch.values())


@METHODS.register("own_method")
@dataclasses.dataclass(frozen=True)
class OwnMethod(DifferentiableMethod):
  """DARTS with a penalty.

  Attributes:
    penalty: its coefficient.
  """

  penalty: float = 0.05

  def relaxation(self, space):
    return Penalized(self.penalty)

  def arch_optimizer(self, rates, space):
    return optimizers.adam(rates.arch_learning_rate, beta1=0.5, beta2=0.999, weight_decay=0.0)


@HYPERGRADIENTS.register("own_hypergradient")
@dataclasses.dataclass(frozen=True)
class OwnHypergradient(FirstOrder):
  """First order, scaled.

  Attributes:
    scale: the factor.
  """

  scale: float = 1.0

  def __call__(self, *arguments):
    estimate = super().__call__(*arguments)
    return estimate._replace(arch=jax.tree.map(lambda leaf: self.scale * leaf, estimate.arch))


@STRATEGIES.register("own_strategy")
@dataclasses.dataclass(frozen=True)
class OwnStrategy:
  """Random search with a setting.

  Attributes:
    offset: nothing but a number that must be positive.
  """

  offset: int = 1

  def on(self, space):
    return RandomSearch().on(space)


@EVALUATORS.register("own_evaluator")
@dataclasses.dataclass(frozen=True)
class OwnEvaluator:
  """Counts skip connections.

  Attributes:
    cost: seconds of an evaluation.
  """

  cost: float = 10.0

  def __call__(self, config, options, folder: pathlib.Path, seed: int):
    return lambda proposal: Evaluation(str(proposal.genotype).count("skip_connect") / 10, self.cost, {})


if __name__ == "__main__":
  from dnas.launchers import compare, search

  launcher = {"search": search, "compare": compare}[sys.argv[1]]
  sys.exit(launcher.main([sys.argv[1], *sys.argv[2:]]))
