"""The PyTorch peer computes what our supernet computes, weights carried over; skipped where there is no PyTorch."""

import jax
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.registries import SPACES
from dnas.launchers.peers import process
from dnas.supernet.image_supernet import Config, ImageSupernet

torch = pytest.importorskip("torch", reason="there is no PyTorch in this environment; pip install torch")

CELLS, CHANNELS = 3, 4


@pytest.fixture(scope="module")
def supernet():
  module = ImageSupernet(Config(channels=CHANNELS, cells=CELLS), SPACES["darts_conv"], 3, 10, np.random.default_rng(0))
  return functional.split(module)


@pytest.fixture
def peer(supernet):
  from dnas.launchers.peers import darts_torch

  problem = process.search_problem(SPACES["darts_conv"], supernet[1].weights, CHANNELS, CELLS, batch=4, image_size=16)
  return darts_torch.Supernet(*darts_torch.problem_of(problem))


@pytest.mark.parametrize("channels_last", [False, True])
def test_logits_agree(supernet, peer, channels_last):
  network, variables = supernet
  rng, space = np.random.default_rng(1), SPACES["darts_conv"]
  images = rng.normal(size=(4, 16, 16, 3)).astype(np.float32)
  mixture = {cell: rng.dirichlet(np.ones(len(space.operations)), len(space.edges)).astype(np.float32) for cell in space.cells}
  ours = np.asarray(functional.apply(network, variables, images, mixture, train=True)[0])
  peer = peer.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
  assert sum(p.numel() for p in peer.parameters()) == sum(leaf.size for leaf in jax.tree.leaves(variables.weights))
  theirs = peer(torch.tensor(images).permute(0, 3, 1, 2), {cell: torch.tensor(w) for cell, w in mixture.items()}).detach().numpy()
  np.testing.assert_allclose(theirs, ours, rtol=2e-3, atol=2e-4)


def test_a_step_moves_weights_and_architecture(peer):
  from dnas.launchers.peers import darts_torch

  torch.manual_seed(0)
  search = darts_torch.FirstOrderSearch(peer, channels_last=True)
  before = [p.detach().clone() for p in [*peer.parameters(), *search._arch.values()]]
  batch = torch.randn(8, 3, 16, 16), torch.arange(8)
  losses = [search.step(batch, batch) for _ in range(5)]
  assert losses[-1] < losses[0]
  assert all((old != new).any() for old, new in zip(before, [*peer.parameters(), *search._arch.values()], strict=True))
