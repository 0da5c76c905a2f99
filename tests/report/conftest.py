"""Run folders to report on: made up, but shaped as the launchers write them."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from dnas.core.space import CellSpace

OPERATIONS = (
  "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip


@pytest.fixture
def darts() -> CellSpace:
  return CellSpace("darts", ("normal", "reduce"), OPERATIONS)


@pytest.fixture
def recurrent() -> CellSpace:
  return CellSpace("darts_recurrent", ("recurrent",), ("none", "tanh", "relu", "sigmoid", "identity"), 1, 8, 1)


@pytest.fixture
def write_run(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
  """Returns a function (space, epochs, launcher, measure) that writes a run folder and returns it."""

  def write(space: CellSpace, epochs: int, launcher: str = "search", measure: str = "accuracy") -> pathlib.Path:
    rng, folder = np.random.default_rng(0), tmp_path / "run"
    (folder / "genotypes").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"launcher": launcher, "versions": {"jax": "0.10"}, "config": {"darts.seed": 3}}))
    splits = ("train", "valid") if launcher == "search" else ("train",)
    lines, mixtures = [], []
    for epoch in range(1, epochs + 1):
      losses = {split: 4.0 * 0.9**epoch + 0.1 * rng.random() for split in splits}
      values = {split: float(np.exp(loss)) if measure == "perplexity" else 1.0 - 0.2 * loss for split, loss in losses.items()}
      scalars = {f"{split}/loss": loss for split, loss in losses.items()} | {f"{split}/{measure}": value for split, value in values.items()}
      lines.append(json.dumps({"epoch": epoch, "step": 10 * epoch, **scalars, "learning_rate": 0.025, "seconds": 1.5}))
      if launcher == "search":
        (folder / "genotypes" / f"epoch_{epoch:04d}.json").write_text(space.sample(rng).to_json())
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if launcher == "search":
      for epoch in range(epochs + 1):
        cells = {cell: rng.dirichlet(np.full(len(space.operations), 5.0), len(space.edges)).tolist() for cell in space.cells}
        mixtures.append(json.dumps({"epoch": epoch, "mixture": cells}))
      (folder / "architecture.jsonl").write_text("\n".join(mixtures) + "\n")
      (folder / "genotype.json").write_text(space.sample(rng).to_json())
    return folder

  return write
