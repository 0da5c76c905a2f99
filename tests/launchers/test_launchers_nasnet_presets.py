"""The presets of NASNet-A, AmoebaNet-B and NAONet hold the published figures: what differs from the published retraining of DARTS."""

import pytest

from dnas.core import config as config_lib
from dnas.launchers import _presets, train

COMMON = {"train.weight_decay": 5e-4, "network.drop_path_by_depth": True}
FIGURES = {
  "nasnet_a_cifar10": {
    **{"space": "nasnet_a", "genotype": "NASNet_A", "network.channels": 32, "data.batch_size": 32},
    **{"data.standardize_images": True},
    **{"train.drop_path": 0.4, "train.every_step": True, "train.decay_vectors": False},
  },
  "amoebanet_b_cifar10": {
    **{"space": "amoebanet", "genotype": "AmoebaNet_B", "network.channels": 128, "data.batch_size": 128},
    **{"train.drop_path": 0.3, "train.learning_rate": 0.024, "train.gradient_clip": 0.0, "train.auxiliary_weight": 0.5},
    **{"train.every_step": True, "train.decay_vectors": False},
  },
  "naonet_cifar10": {
    **{"space": "naonet", "genotype": "NAONet", "network.channels": 64, "network.dropout": 0.4, "data.batch_size": 128},
    **{"data.standardize_images": True, "data.cutout_length": 0, "train.drop_path": 0.3, "train.learning_rate": 0.024},
    "train.drop_path_every_step": True,
  },
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name):
  darts, found = (config_lib.flatten(_presets.load(preset, "train")) for preset in ("darts_cifar10_retrain", name))
  changed = {path: new for path, (_, new) in config_lib.differences(darts, found).items()}
  assert changed == COMMON | FIGURES[name]


@pytest.mark.parametrize("name", FIGURES)
def test_the_cell_is_of_the_space(name):
  config = _presets.load(name, "train")
  assert train.load_genotype(config.genotype, config.space).space == config.space
