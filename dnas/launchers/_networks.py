"""Searches in networks of a user's own, as Python functions: a network with choices, data, a loss, and a folder."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from dnas.cells.functional import Variables
from dnas.core import config as config_lib
from dnas.core import tree
from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace
from dnas.core.errors import InputError, counted, shown
from dnas.data.pairs import Arrays, Batches
from dnas.launchers import _flags, _output, _pages, _run
from dnas.launchers._method_config import NetworkSearchConfig
from dnas.launchers._python import Folder, options_of
from dnas.report.plots import save_pictures
from dnas.run.loop import HistoryRecord
from dnas.search.gradient import diagnostics
from dnas.search.gradient.network_workload import NetworkWorkload
from dnas.supernet.choice_network import Build, SearchableNetwork
from dnas.train.own_loss import Loss


@dataclasses.dataclass(frozen=True)
class NetworkSearchResult:
  """The result of a search in a network of one's own.

  Attributes:
    genotype: the architecture found.
    cost: seconds of the search.
    metrics: the metrics of the epoch that the architecture is from, such as 'valid/loss'.
    history: the records of all epochs.
    network: the network with choices.
    variables: its weights and statistics at the end of the search.
  """

  genotype: ChoiceGenotype
  cost: float
  metrics: Mapping[str, float]
  history: Sequence[HistoryRecord]
  network: SearchableNetwork
  variables: Variables

  def derive(self, inherit: bool = False, seed: int | None = None) -> nnx.Module:
    """Returns the network found, a plain Flax module, with fresh weights or with those of the search; see `SearchableNetwork.derive`."""
    return self.network.derive(self.genotype, self.variables if inherit else None, seed)


def search_network(
  network: Build,
  data: Batches,
  loss: Loss,
  workdir: Folder,
  config: NetworkSearchConfig | None = None,
  *,
  method: str | None = None,
  epochs: int | None = None,
  changes: Mapping[str, Any] | None = None,
  **options: Any,
) -> NetworkSearchResult:
  """Searches a network of one's own with a differentiable method, or resumes the search. The same call again resumes it.

  Args:
    network: function from `nnx.Rngs` to a network with choices, for instance its class. The network is called with the inputs of a batch.
      If its call has an argument `train`, that is passed too.
    data: for instance `Arrays`.
    loss: (outputs, targets) to the mean loss of the batch, or to that and further means by name, such as {"accuracy": ...}.
    workdir: the folder of the run: configuration, metrics, genotypes, checkpoints, pictures.
    config: the settings; by default the optimizers of the published CIFAR-10 recipe.
    method: the differentiable method, as in the settings.
    epochs: number of epochs, as `darts.epochs` in the settings.
    changes: further settings by their dotted paths, such as {"darts.learning_rate": 0.1, "remedies.projection": True}.
    **options: fields of `Options`, such as save_every_steps.

  Raises:
    InputError: for a network, data, a loss, settings or a folder that cannot be used.
  """
  config = configured(config, method, epochs, changes)
  chosen = options_of(workdir, options, ("force",))
  _flags.require_one_process(chosen)
  _run.prepare(chosen)
  searched = SearchableNetwork(network, config.seed)
  workload = NetworkWorkload(searched, data, loss, config.seed)
  task = config.task(workload, config.seed)
  parts = _run.Parts({"network.json": described(searched, data, workload.batch)}, about(searched, data))
  with _run.open_folder(chosen, "search_network", config.recorded(), parts, config_lib.defaults(config)) as folder:
    print(f"search by {config.method} ({config.hypergradient_name}): {_run.length_of(task)}", flush=True)
    position = _run.run(task, folder, chosen, task.stops)
    result, space = task.result(position.history), searched.space
    genotype = space.validate(result.genotype)
    text, notation = genotype.to_json(), space.notation(genotype)
    folder.write_genotype(text)
    costs = workload.costs(genotype)
    warnings = [one for one in (diagnostics.collapse(space, genotype), diagnostics.undecided(result.metrics)) if one]
    own = {"genotype": json.loads(text), "notation": notation, "seconds": result.cost, **result.metrics, "warnings": warnings}
    folder.write_result(own | dataclasses.asdict(costs))
    pictures = _output.drawn(lambda: save_pictures(folder.path, space))
    if task.stops(position.history):
      print(f"\nstopped early after epoch {len(position.history)}: the dominant eigenvalue has grown")
    for warning in warnings:
      print(f"\nwarning: {warning}")
    print(f"\nfound: {notation}\nits network: {costs}")
    if pictures:
      print(f"pictures: {folder.path / 'pictures'}")
    _pages.save_or_warn(folder.path)
  search = position.state.search
  variables = Variables(search.weights, search.stats)
  return NetworkSearchResult(genotype, result.cost, result.metrics, tuple(position.history), searched, variables)


def configured(
  config: NetworkSearchConfig | None, method: str | None, epochs: int | None, changes: Mapping[str, Any] | None
) -> NetworkSearchConfig:
  """Returns settings with changes. Raises InputError for one that is unknown, out of range, or has no effect."""
  config = NetworkSearchConfig() if config is None else config
  if not isinstance(config, NetworkSearchConfig):
    raise InputError(f"search_network does not take {shown(type(config).__name__)}; give NetworkSearchConfig.")
  values = changed(changes, {"method": method, "darts.epochs": epochs})
  config = config_lib.replace(config_lib.with_units(config), values)
  _flags.refuse_idle(config, values)
  return config


def changed(changes: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns the changes of settings, with those that are arguments of their own unless they are None.

  Raises:
    InputError: if the changes are no mapping.
    FieldError: if one is also given as an argument.
  """
  changes = {} if changes is None else changes
  if not isinstance(changes, Mapping):
    raise InputError(f"changes is {shown(changes)}; give a dictionary of values by dotted paths, such as {{'darts.epochs': 4}}.")
  given = {path: value for path, value in arguments.items() if value is not None}
  for path in changes:
    name = str(path).rpartition(".")[2]
    config_lib.check(path not in given, str(path), changes[path], f"the argument {name} is given too; leave one of them out")
  return {**changes, **given}


def described(network: SearchableNetwork, data: Batches, batch: Any) -> str:
  """Returns what a run depends on beside its settings, a line for each: choices, weights, and shapes and digest of the data."""
  lines = [json.dumps({"choice": point.name, "options": point.options, "kept": point.kept}) for point in network.space.points]
  for path, leaf in jax.tree_util.tree_flatten_with_path((network.initial.weights, network.initial.stats))[0]:
    lines.append(json.dumps({"array": jax.tree_util.keystr(path), "shape": np.shape(leaf)}))
  shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch)]
  lines.append(json.dumps({"batch": shapes, "steps_per_epoch": data.steps_per_epoch}))
  if isinstance(data, Arrays):
    lines.append(json.dumps({"examples": data.examples, "digest": data.digest()}))
  return "[\n" + ",\n".join(lines) + "\n]\n"


def about(network: SearchableNetwork, data: Batches) -> str:
  """Returns the lines about network and data, for the person."""
  space: ChoiceSpace = network.space
  first = f"network: {counted(len(space.points), 'choice')}, {tree.size(network.initial.weights):,} weights"
  if not isinstance(data, Arrays):
    return first
  return f"{first}\ndata: {data.examples[0]:,} examples train the weights, {data.examples[1]:,} the architecture"
