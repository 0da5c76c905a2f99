"""What the launchers build for images."""

import jax

from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import tree
from dnas.core.genotype import Genotype
from dnas.data import batches, datasets
from dnas.data.base import Split
from dnas.search.image_workload import ImageWorkload
from dnas.train import images
from experiments._run import SearchParts, TrainParts
from experiments.configs import ImageSearchConfig, ImageTrainConfig

GENOTYPES = IMAGE_GENOTYPES


def search_parts(config: ImageSearchConfig) -> SearchParts:
  """Builds the workload of a search. Raises InputError for values that do not fit the data."""
  dataset, key = datasets.from_config(config.data), jax.random.fold_in(jax.random.key(config.seed), 0)
  space, parts = SPACES[config.space], config.make_method().partial_channels
  return SearchParts(ImageWorkload(config.supernet, config.data, space, dataset, config.seed, key, parts), {})


def train_parts(config: ImageTrainConfig, genotype: Genotype) -> TrainParts:
  """Builds the training of a genotype. Raises InputError for values that do not fit the data."""
  dataset = datasets.from_config(config.data)
  task = images.RetrainTask(config.train, config.network, config.data, dataset, genotype, config.seed)

  def test(state: images.TrainState, split: Split) -> dict[str, float]:
    weights = tree.size(state.weights) - tree.size(state.weights.get("auxiliary", {}))
    return {"weights": weights} | {f"test/{name}": value for name, value in task.evaluate(state, batches.to_device(split)).items()}

  return TrainParts(task, dataset, test, {})
