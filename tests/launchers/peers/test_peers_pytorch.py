"""The PyTorch peer computes what our networks compute, weights carried over; skipped where there is no PyTorch."""

import jax
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.darts_recurrent import SPACE as RECURRENT
from dnas.cells.language_model import Config as LanguageConfig
from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, SPACES
from dnas.launchers.peers import process
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.nets.derived_image import DerivedImageNetwork
from dnas.nets.derived_language import derived_language_model
from dnas.supernet.image_supernet import Config, ImageSupernet
from dnas.supernet.language_supernet import language_supernet

torch = pytest.importorskip("torch", reason="there is no PyTorch in this environment; pip install torch")

CELLS, CHANNELS, WORDS, BATCH = 3, 4, 6, 5


def agree(peer, weights, theirs, ours):
  assert sum(p.numel() for p in peer.parameters()) == sum(leaf.size for leaf in jax.tree.leaves(weights))
  np.testing.assert_allclose(theirs.detach().numpy(), np.asarray(ours), rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="module")
def supernet():
  module = ImageSupernet(Config(channels=CHANNELS, cells=CELLS), SPACES["darts_conv"], 3, 10, np.random.default_rng(0))
  return functional.split(module)


@pytest.fixture
def peer(supernet):
  from dnas.launchers.peers.pytorch import blocks, image_search

  about = process.about_search(SPACES["darts_conv"], CHANNELS, CELLS, batch=4, image_size=16)
  about, weights = blocks.problem_of(process.problem(about, supernet[1].weights))
  return image_search.Supernet(image_search.Problem(**about), weights)


@pytest.mark.parametrize("memory", ["contiguous_format", "channels_last"])
def test_logits_of_the_image_supernet_agree(supernet, peer, memory):
  network, variables = supernet
  rng, space = np.random.default_rng(1), SPACES["darts_conv"]
  images = rng.normal(size=(4, 16, 16, 3)).astype(np.float32)
  mixture = {cell: rng.dirichlet(np.ones(len(space.operations)), len(space.edges)).astype(np.float32) for cell in space.cells}
  ours = functional.apply(network, variables, images, mixture, train=True)[0]
  peer = peer.to(memory_format=getattr(torch, memory))
  theirs = peer(torch.tensor(images).permute(0, 3, 1, 2), {cell: torch.tensor(w) for cell, w in mixture.items()})
  agree(peer, variables.weights, theirs, ours)


def test_a_step_moves_weights_and_architecture(peer):
  from dnas.launchers.peers.pytorch import image_search

  torch.manual_seed(0)
  search = image_search.FirstOrderSearch(peer, torch.channels_last)
  before = [p.detach().clone() for p in [*peer.parameters(), *search._arch.values()]]
  batch = torch.randn(8, 3, 16, 16), torch.arange(8)
  losses = [search.step(batch, batch) for _ in range(5)]
  assert losses[-1] < losses[0]
  assert all((old != new).any() for old, new in zip(before, [*peer.parameters(), *search._arch.values()], strict=True))


@pytest.mark.parametrize("name, auxiliary", [("DARTS_V1", True), ("DARTS_V2", False)])
def test_logits_of_an_image_network_agree(name, auxiliary):
  from dnas.launchers.peers.pytorch import blocks, image_network

  genotype, size = IMAGE_GENOTYPES[name], 32 if auxiliary else 16
  module = DerivedImageNetwork(
    NetworkConfig(channels=CHANNELS, cells=CELLS, auxiliary=auxiliary), genotype, (size, size, 3), 10, np.random.default_rng(0)
  )
  network, variables = functional.split(module)
  images = np.random.default_rng(1).normal(size=(4, size, size, 3)).astype(np.float32)
  about, weights = blocks.problem_of(process.problem(process.about_network(genotype, CELLS, 4, size), variables.weights))
  peer = image_network.Network(about, weights)
  (ours, side), _ = functional.apply(network, variables, images, train=True)
  theirs, their_side = peer(torch.tensor(images).permute(0, 3, 1, 2))
  agree(peer, variables.weights, theirs, ours)
  assert (side is None) == (their_side is None) == (not auxiliary)
  if auxiliary:
    agree(peer, variables.weights, their_side, side)


@pytest.mark.parametrize("name", [None, "DARTS_V1", "DARTS_V2"])
def test_logits_of_a_language_model_agree(name):
  from dnas.launchers.peers.pytorch import blocks, recurrent

  config, rng = LanguageConfig(units=7), np.random.default_rng(1)
  genotype = name and LANGUAGE_GENOTYPES[name]
  make = derived_language_model if name else language_supernet
  network, variables = functional.split(make(config, genotype or RECURRENT, 11, np.random.default_rng(0)))
  # The initial weights are small, and would hide a wrong activation.
  weights = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables.weights)
  tokens, hidden = rng.integers(0, 11, (WORDS, BATCH)).astype(np.int32), rng.normal(size=(BATCH, 7)).astype(np.float32)
  mixture = None if name else rng.dirichlet(np.ones(len(RECURRENT.operations)), len(RECURRENT.edges)).astype(np.float32)
  (ours, last, _), _ = functional.apply(network, functional.Variables(weights, {}), tokens, hidden, np.int32(WORDS), mixture)
  about, arrays = blocks.problem_of(process.problem(process.about_language(RECURRENT, genotype, config, BATCH, WORDS), weights))
  peer = recurrent.LanguageModel(about, arrays)
  theirs, their_last, *_ = peer(torch.tensor(tokens).long(), torch.tensor(hidden), None if name else torch.tensor(mixture))
  agree(peer, weights, theirs, ours)
  agree(peer, weights, their_last, last)


@pytest.mark.parametrize("job", ["retrain", "evaluate", "language_search", "language_retrain", "language_evaluate"])
def test_every_job_takes_steps(job):
  from dnas.launchers import _speed_jobs
  from dnas.launchers.peers.pytorch import serve

  config = _speed_jobs.SpeedConfig(job, image_size=16, vocabulary=11, words=4)
  made = _speed_jobs.JOBS[job](config, _speed_jobs.Size(1, 4, 4, 1, "float32"))
  state = made.task.init()
  steps = serve.JOBS[job](made.problem(state))
  assert len(steps) == (1 if "language" in job else 2)
  for step in steps.values():
    assert np.isfinite([step() for _ in range(2)]).all()
