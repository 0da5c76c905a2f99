"""The rows of the two tables: human-designed networks beside networks that a search found, on CIFAR-10 and on Penn Treebank.

The selection is that of Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019. A figure is that of
the network's own paper where no other source is named.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dnas.core import config as config_lib
from dnas.core.errors import InputError
from dnas.launchers import _presets

SCALES = ("published", "demo")
"""published: the recipe and the data of the paper. demo: the same network and trainer, shrunken, on data in the package."""


class Row(NamedTuple):
  """One network of a table.

  Attributes:
    table: 'cifar10' or 'ptb'.
    name: the network, as the table names it.
    search: how it was found.
    evaluation: how the search judged an architecture.
    weights: published number of weights, in millions.
    result: published test error in percent or test perplexity, with what it is.
    presets: the stages of its training; every stage after the first starts from the network of the one before.
    demo: changes of every stage for the scale demo, by dotted path.
  """

  table: str
  name: str
  search: str
  evaluation: str
  weights: str
  result: str
  presets: tuple[str, ...]
  demo: Mapping[str, Any] = MappingProxyType({})


_DIGITS = {
  "data.dataset": "digits",
  "data.batch_size": 64,
  "data.crop_padding": 1,
  "data.flip": False,
  "data.cutout_length": 0,
  "train.epochs": 30,
}
_CELLS = _DIGITS | {"network.channels": 8, "network.auxiliary": False, "train.auxiliary_weight": 0.0}
_DOCS = {
  "data.dataset": "python_docs",
  "data.batch_size": 16,
  "data.buckets": 1,
  "train.epochs": 20,
  "train.test_batch_size": 10,
}
_BY_HAND, _REINFORCE, _PARTIAL = "by hand", "reinforcement learning", "partial training"

ROWS: Mapping[str, Row] = MappingProxyType({
  "pyramidnet": Row(
    "cifar10", "PyramidNet + ShakeDrop", _BY_HAND, "", "26", "2.31", ("pyramidnet_shakedrop_cifar10",),
    _DIGITS | {"pyramidnet.depth": 29, "pyramidnet.alpha": 30, "data.random_erasing": 0.0},
  ),
  "nasnet_a": Row(
    "cifar10", "NASNet-A + cutout", _REINFORCE, _PARTIAL, "3.3", "2.65", ("nasnet_a_cifar10",), _CELLS | {"network.cells": 3}
  ),
  "amoebanet_b": Row(
    "cifar10", "AmoebaNet-B + cutout", "evolution", _PARTIAL, "34.9", "2.13", ("amoebanet_b_cifar10",), _CELLS | {"network.cells": 3}
  ),
  "naonet": Row(
    "cifar10", "NAONet", "gradient on an encoding", _PARTIAL, "28.6", "2.98", ("naonet_cifar10",), _CELLS | {"network.cells": 3}
  ),
  "darts": Row(
    "cifar10", "DARTS + cutout", "differentiable", "weight sharing", "3.4, 3.3", "2.83 (preprint), 2.76", ("darts_cifar10_retrain",),
    _CELLS | {"network.cells": 6},
  ),
  "lstm_mos": Row(
    "ptb", "LSTM with MoS", _BY_HAND, "", "22", "54.4", ("lstm_mos_ptb", "lstm_mos_ptb_finetune"),
    _DOCS | {"mos_lstm.embedding": 32, "mos_lstm.units": 64, "mos_lstm.last_units": 48, "mos_lstm.softmaxes": 5},
  ),
  "nas_cell": Row("ptb", "NAS cell", _REINFORCE, _PARTIAL, "54", "62.4", ("nas_cell_ptb",), _DOCS | {"nas_cell.units": 64}),
  "naonet_ptb": Row("ptb", "NAONet", "gradient on an encoding", _PARTIAL, "27", "56.0", ("naonet_ptb",), _DOCS | {"network.units": 64}),
  "darts_ptb": Row("ptb", "DARTS", "differentiable", "weight sharing", "23", "55.7", ("darts_ptb_retrain",), _DOCS | {"network.units": 64}),
})  # fmt: skip
"""The networks by the names of their folders."""

CAPTIONS = MappingProxyType({"cifar10": "Table 1: CIFAR-10", "ptb": "Table 2: Penn Treebank"})


def stages(row: Row, scale: str, seed: int) -> list[Any]:
  """Returns the configurations of all stages of a row, one after another. The last one alone reads the test set.

  Raises:
    InputError: for a change that a preset refuses; the message names the preset.
  """
  configs = []
  for name in row.presets:
    try:
      changes = {"seed": seed, "test": name == row.presets[-1]} | (dict(row.demo) if scale == "demo" else {})
      configs.append(config_lib.replace(_presets.load(name, "train"), changes))
    except InputError as e:
      raise InputError(f"preset {name}: {e}") from None
  return configs
