"""Stages of a progressive search: pruning and widening."""

import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.search.gradient.stages import strongest, widen
from dnas.supernet.edges import EdgeOptions, EdgeWeights, MixedEdges

SPACE = CellSpace("small", ("normal",), ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"), num_nodes=1)


def test_the_strongest_operations_are_kept():
  mixture = {"normal": np.array([[0.1, 0.4, 0.2, 0.3], [0.25] * 4])}
  assert strongest(SPACE, mixture, 2)["normal"].tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]
  assert strongest(SPACE, mixture, 0)["normal"].all()


def test_channels_are_repeated_and_inputs_divided():
  rng = np.random.default_rng(0)
  old = {"pointwise": rng.normal(size=(2, 3, 3)), "depthwise": rng.normal(size=(2, 5, 5, 3)), "mean": rng.normal(size=(2, 3))}
  new = {"pointwise": jnp.zeros((2, 6, 6)), "depthwise": jnp.zeros((2, 5, 5, 6)), "mean": jnp.zeros((2, 6))}
  wide = widen(old, new)
  np.testing.assert_allclose(wide["pointwise"], np.tile(old["pointwise"], (1, 2, 2)) / 2, rtol=1e-6)
  np.testing.assert_allclose(wide["depthwise"], np.tile(old["depthwise"], (1, 1, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(wide["mean"], np.tile(old["mean"], (1, 2)), rtol=1e-6)


def test_widened_operations_do_the_same_where_channels_repeat():
  """A state whose second half of channels repeats the first, through operations on all channels, is one through those on half of them."""
  narrow, wide = (MixedEdges(SPACE, 0, 8, 1, np.random.default_rng(0), EdgeOptions(parts)) for parts in (2, 1))
  network, old = functional.split(narrow)
  graph, new = functional.split(wide)
  variables = functional.Variables(widen(old.weights, new.weights), widen(old.stats, new.stats))
  half = np.random.default_rng(1).normal(size=(2, 4, 4, 4)).astype(np.float32)
  x, mixture = np.concatenate([half, half], -1), [EdgeWeights(np.array([[0.0, 0.3, 0.3, 0.4]], np.float32), np.ones(1, np.float32))]
  out, _ = functional.apply(graph, variables, x, mixture, train=True)
  partial, _ = functional.apply(network, old, x, mixture, train=True)
  seen = np.asarray(partial[2])[..., 0::2]  # the shuffle interleaves what was seen with what passed by
  np.testing.assert_allclose(out[2], np.concatenate([seen, seen], -1), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_widened_is_refused():
  with pytest.raises(InputError, match=r"an array of shape \(2, 4\) cannot be widened to \(2, 6\)"):
    widen({"a": jnp.zeros((2, 4))}, {"a": jnp.zeros((2, 6))})
  with pytest.raises(InputError, match="another structure"):
    widen({"a": jnp.zeros(2)}, {"b": jnp.zeros(2)})
