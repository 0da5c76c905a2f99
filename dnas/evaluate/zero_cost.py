"""Zero-cost proxies: scores of networks that were never trained, from one batch; cheap baselines for every other evaluator.

Source: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021; naswot and the jacobian covariance: Mellor et al., "Neural
Architecture Search without Training", ICML 2021 and its first version of 2020; synflow: Tanaka et al., NeurIPS 2020.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional
from dnas.cells.rectifier import recorded
from dnas.compiler.functions import Loss, compiled
from dnas.core import keys, memory_maps, tree
from dnas.core.config import check
from dnas.core.errors import FieldError
from dnas.core.records import Evaluation, Proposal
from dnas.core.registry import Registry, is_function
from dnas.data import augment, base
from dnas.nets import derived_image, of_genotype

Proxy = Callable[[functional.Network, functional.Variables, jax.Array], float]
"""(network, initial variables, normalized images [B, H, W, C], B at least 2) to a score, higher where a better network is expected."""

PROXIES: Registry[Proxy] = Registry("zero-cost proxy", is_function("a function that scores a network"))


@PROXIES.register("parameters")
def parameters(network: functional.Network, variables: functional.Variables, images: jax.Array) -> float:
  """Returns the number of weights."""
  return float(tree.size(variables.weights))


@PROXIES.register("synflow")
def synflow(network: functional.Network, variables: functional.Variables, images: jax.Array) -> float:
  """Returns the logarithm of the synaptic flow: the sum of w dR/dw, R the sum of the logits of ones through |w|, without normalization.

  Running statistics of a new network are 0 and 1, so in inference mode its normalizations do nothing.
  """
  weights = jax.tree.map(jnp.abs, variables.weights)

  def flow(weights: object) -> tuple[jax.Array, None]:
    inputs = jnp.ones_like(images[:1])
    return functional.apply(network, functional.Variables(weights, variables.stats), inputs, train=False)[0][0].sum(), None

  _, (gradient,) = Loss(flow, (0,)).gradient((0,))(weights)
  return float(np.log(np.maximum(np.float32(tree.dot(weights, gradient)), np.finfo(np.float32).tiny)))


@PROXIES.register("jacob_cov")
def jacob_cov(network: functional.Network, variables: functional.Variables, images: jax.Array) -> float:
  """Returns -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the correlation of the examples' Jacobians, with k = 1e-5."""

  def total(images: jax.Array) -> tuple[jax.Array, None]:
    return functional.apply(network, variables, images, train=True)[0][0].sum(), None

  _, (gradient,) = Loss(total, (0,)).gradient((0,))(images)
  jacobian = np.asarray(gradient, np.float64).reshape(len(images), -1)
  if not np.ptp(jacobian, axis=1).all():
    return -np.inf  # an output that does not depend on the image has no correlation
  values = np.linalg.eigvalsh(np.corrcoef(jacobian))
  values = np.maximum(values, 0) + 1e-5
  return float(-(np.log(values) + 1 / values).sum())


@PROXIES.register("naswot")
def naswot(network: functional.Network, variables: functional.Variables, images: jax.Array) -> float:
  """Returns log |det K|, where K[i, j] is the number of rectifiers that are on for both examples i and j, or off for both."""

  def kernel(images: jax.Array) -> jax.Array:
    with recorded() as outputs:
      functional.apply(network, variables, images, train=True)
    total = jnp.zeros((len(images), len(images)))
    for output in outputs:
      axis = 0 if output.ndim == 4 else 1
      on = (jnp.moveaxis(output, axis, 0).reshape(len(images), -1) > 0).astype(jnp.float32)
      total += on @ on.T + (1 - on) @ (1 - on).T
    return total

  sign, logarithm = np.linalg.slogdet(np.asarray(compiled(kernel)(images), np.float64))
  return float(logarithm) if sign else -np.inf


class ZeroCost:
  """Scores networks without training (an `evaluate.base.Evaluator`)."""

  def __init__(self, proxy: str, config: derived_image.Config, data: base.Config, dataset: base.ImageDataset, seed: int):
    """Makes the evaluator.

    Args:
      proxy: name of a registered proxy.
      config: size of the network; it must have no auxiliary head.
      data: for its batch size, and how examples are chosen: so many of the training set are the batch, without augmentation. By a
        contiguous division those are its first.
      dataset: the data set.
      seed: seed of the initial weights.

    Raises:
      FieldError: if the network has an auxiliary head, or the batch a single example.
      InputError: if there is no such proxy.
    """
    if config.auxiliary:
      raise FieldError("network.auxiliary", True, "a zero-cost proxy scores networks without the auxiliary head; turn it off")
    hint = "proxies compare the examples of a batch, so give at least 2"
    check(min(data.batch_size, len(dataset.train)) >= 2, "data.batch_size", data.batch_size, hint)
    self._proxy, self._config, self._dataset, self._seed = PROXIES[proxy], config, dataset, seed
    batch = base.subset(dataset, data.batch_size, data)
    self._images = augment.normalize(jnp.asarray(batch.images), dataset.mean, dataset.std, data.standardize_images)

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Scores a network at its initial weights. The budget is ignored."""
    memory_maps.spare()  # every network has programs of its own
    began = time.monotonic()
    shape, classes = self._dataset.train.images.shape[1:], self._dataset.num_classes
    rng = keys.generator(self._seed, "weights")
    network, variables = functional.split(of_genotype.build(self._config, proposal.genotype, shape, classes, rng))
    score = self._proxy(network, variables, self._images)
    return Evaluation(score, time.monotonic() - began, {})
