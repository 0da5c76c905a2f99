"""A toy task with every kind of state, and a launcher for it that the tests run, kill and run again as a process of its own."""

import argparse
import dataclasses
import functools
import json
import resource
import sys
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.errors import InputError
from dnas.run.checkpoint import Checkpoints
from dnas.run.loop import NonFiniteLoss, Position, Stopped, restore, run
from dnas.run.run_folder import RunFolder
from dnas.run.stop import StopRequest
from dnas.run.writers import TensorBoardWriter

STEPS, EPOCHS = 7, 5


@functools.partial(jax.tree_util.register_dataclass, data_fields=["params", "momentum", "key", "count", "seen"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class ToyState:
  params: dict  # w: (6,) float32, bias: () bfloat16
  momentum: tuple  # of the shape of (w, bias)
  key: jax.Array  # (2,) uint32, changed at epoch ends
  count: jax.Array  # () int32
  seen: jax.Array  # (10,) bool


class Toy:
  """Logistic regression on noisy inputs, with momentum."""

  def __init__(self, steps_per_epoch: int = STEPS, epochs: int = EPOCHS, nan_at: int = -1):
    self.steps_per_epoch, self.epochs, self.nan_at = steps_per_epoch, epochs, nan_at

  def end_of_epoch(self, epoch: int) -> int:
    return epoch * self.steps_per_epoch

  def init(self) -> ToyState:
    params = {"w": jnp.zeros((6,)), "bias": jnp.zeros((), jnp.bfloat16)}
    zeros = jax.tree.map(jnp.zeros_like, (params["w"], params["bias"]))
    return ToyState(params, zeros, jax.random.key_data(jax.random.key(5)), jnp.int32(0), jnp.zeros((10,), bool))

  def step(self, state: ToyState, step: int):
    return _step(state, step, step == self.nan_at)

  def end_epoch(self, state: ToyState, epoch: int, means):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), epoch)
    weights = np.asarray(state.params["w"], np.float64)
    record = {
      "metrics": {"train/loss": means["loss"], "train/accuracy": means["accuracy"], "valid/loss": float((weights**2).sum())},
      "genotype": json.dumps({"best": int(weights.argmax())}),
      "mixture": [weights.tolist()],
    }
    return dataclasses.replace(state, key=jax.random.key_data(key)), record


@functools.partial(jax.jit, donate_argnums=0)
def _step(state: ToyState, step: jax.Array, spoil: jax.Array):
  k_noise, k_label = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.key), step))
  x = jax.random.normal(k_noise, (10, 6))
  y = (x[:, 0] + x[:, 1] + jax.random.normal(k_label, (10,)) > 0).astype(jnp.float32)

  def loss_of(w, bias):
    logits = x @ w + bias.astype(jnp.float32)
    return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits), jnp.mean((logits > 0) == (y > 0))

  (loss, accuracy), grads = jax.value_and_grad(loss_of, (0, 1), has_aux=True)(state.params["w"], state.params["bias"])
  momentum = jax.tree.map(lambda m, g: (0.9 * m + g).astype(m.dtype), state.momentum, grads)
  w, bias = jax.tree.map(lambda p, m: (p - 0.1 * m).astype(p.dtype), (state.params["w"], state.params["bias"]), momentum)
  w = jnp.where(spoil, jnp.nan, w)
  new = ToyState({"w": w, "bias": bias}, momentum, state.key, state.count + 1, state.seen.at[step % 10].set(True))
  return new, {"loss": jnp.where(spoil, jnp.nan, loss), "accuracy": accuracy}


def bits(state) -> list[tuple]:
  """Paths, dtypes, shapes and bytes of all leaves."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return [(jax.tree_util.keystr(path), leaf.dtype.name, leaf.shape, np.asarray(leaf).tobytes()) for path, leaf in leaves]


def launch(workdir, task: Toy, save_every_steps: int = 0, stop: StopRequest | None = None, on_step=None) -> Position:
  """What a launcher does."""
  with RunFolder.open(workdir, "toy", {"steps": task.steps_per_epoch, "epochs": task.epochs}) as folder:
    with Checkpoints(folder.checkpoints) as checkpoints, closing(TensorBoardWriter(folder.path / "tensorboard", purge_step=0)) as writer:
      position = restore(task, checkpoints)
      folder.sync(position.history)
      for record in position.history:
        writer.write(record["step"], record["metrics"])
      for record in run(task, position, checkpoints, save_every_steps=save_every_steps, stop=stop, on_step=on_step):
        folder.append(record)
        writer.write(record["step"], record["metrics"])
    folder.write_genotype(position.history[-1]["genotype"])
    folder.write_result(position.history[-1]["metrics"])
  return position


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir")
  parser.add_argument("--save_every_steps", type=int, default=1)
  parser.add_argument("--epochs", type=int, default=EPOCHS)
  parser.add_argument("--nan_at", type=int, default=-1)
  parser.add_argument("--file_size_after", type=int, default=-1, help="step after which no file may grow")
  parser.add_argument("--file_size", type=int, default=100, help="bytes beyond which it may not")
  args = parser.parse_args()

  def on_step(step: int, loss: float) -> None:
    print(f"step {step}", flush=True)
    if step == args.file_size_after:
      resource.setrlimit(resource.RLIMIT_FSIZE, (args.file_size, args.file_size))

  try:
    with StopRequest(lambda text: print(text, flush=True)) as stop:
      position = launch(args.workdir, Toy(epochs=args.epochs, nan_at=args.nan_at), args.save_every_steps, stop, on_step)
  except (InputError, NonFiniteLoss, Stopped) as e:
    print(f"{type(e).__name__}: {e}", flush=True)
    return {InputError: 2, NonFiniteLoss: 4, Stopped: 3}[type(e)]
  print(json.dumps([[*leaf[:2], leaf[3].hex()] for leaf in bits(position.state)]))
  return 0


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_numpy_rank_promotion", "raise")
  sys.exit(main())
