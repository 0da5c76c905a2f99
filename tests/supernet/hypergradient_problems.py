"""How tests pose a problem to a hypergradient."""

import jax
import optax

from dnas.supernet.bilevel import LossInputs
from dnas.supernet.hypergradients import Problem
from dnas.train import optimizers

KEY = jax.random.key(0)


def problem_of(programs, train_batch, valid_batch, optimizer, weight_decay=0.0):
  """The problem that a bilevel step poses, for a loss without batch statistics and randomness."""
  return Problem(
    train=lambda weights, arch: programs.gradient(weights, arch, {}, LossInputs(train_batch), KEY).gradients,
    valid=lambda weights, arch: programs.gradient(weights, arch, {}, LossInputs(valid_batch), KEY).gradients,
    train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, {}, LossInputs(train_batch), KEY, direction),
    optimizer=optimizer,
    weight_decay=weight_decay,
  )


def at_rate(learning_rate, optimizer):
  """Returns `optimizers.sgd` with a learning rate that is set from the beginning."""
  return optax.GradientTransformation(lambda p: optimizers.with_learning_rate(optimizer.init(p), learning_rate), optimizer.update)
