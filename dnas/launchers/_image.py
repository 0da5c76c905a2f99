"""Workloads and trainings on images, as the launchers build them."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dnas.cells import sizes
from dnas.cells.functional import Variables
from dnas.cells.registries import CHAIN_SPACES, IMAGE_GENOTYPES, SPACES
from dnas.core import config as config_lib
from dnas.core import devices, memory, tree
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.genotype import Genotype
from dnas.core.paths import expanded
from dnas.data import datasets
from dnas.data.about import About
from dnas.data.base import Config as DataConfig
from dnas.data.base import ImageDataset, Split
from dnas.data.own_images import OwnImages, described
from dnas.launchers._run import SearchParts, TrainParts, read_start
from dnas.launchers._trained import ABOUT, builder, load
from dnas.launchers.configs import ImageSearchConfig, ImageTrainConfig
from dnas.nets.conv_chain import convolutions as chain_convolutions
from dnas.nets.costs import trained
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.report.runs import Run, load_run
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient.darts import DartsTask, State
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.seeds import SeedsTask
from dnas.search.gradient.stages import Start, start_from
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.supernet.relaxations import to_numpy
from dnas.train import images
from dnas.train.classifier import ImageClassifier
from dnas.train.image_stream import placed

GENOTYPES = IMAGE_GENOTYPES


def search_parts(config: ImageSearchConfig, force: bool = False) -> SearchParts:
  """Builds the workload of a search.

  Raises:
    InputError: if a value does not fit the data, if the search to start from is not one of this network, or, without `force`, if the search
      needs more memory than there is.
  """
  dataset = datasets.from_config(config.data)
  space, edges = config.searched_space(), config.make_method().edges
  states = space.num_inputs + space.num_nodes
  operations = max(len(space.operations) // edges.partial_channels, 1)
  shape = {"states": states, "outputs": len(space.concat), "edges": len(space.edges), "operations": operations}
  estimate = _check_memory(config.supernet, "supernet", config.data, dataset, shape, config.num_seeds, force)
  workload = ImageWorkload(config.supernet, config.data, space, dataset, config.seed, edges)
  about = _described(dataset, workload.examples, _of_cells("supernet", config.supernet), tree.size(workload.initial.weights))
  kept = {**_kept(dataset, config.data), **config.cost.kept()}
  start = _start(config, workload) if config.start_from else None
  restart = (lambda other: _start(other, workload.reseeded(other.seed))) if start else None
  limit = config.cost.make(space, config.supernet, dataset.train.images.shape[1:], dataset.num_classes, start and start.op_mask)
  return SearchParts(kept, about, estimate, workload=workload, start=start, restart=restart, limit=limit)


def _start(config: ImageSearchConfig, workload: ImageWorkload) -> Start:
  """Reads the beginning of a stage from the folder of the search before it. Raises InputError if the folder holds no such search."""
  run = load_run(expanded("--start_from", config.start_from))
  if not (run.folder / "genotype.json").exists() or "method" not in run.config:
    raise FieldError("start_from", config.start_from, "give the folder of a finished search on images")
  before = _configuration_of(run, config)
  for field in ("space", "without", "supernet"):
    if getattr(before, field) != getattr(config, field):
      raise FieldError("start_from", config.start_from, f"its {field} is {getattr(before, field)}; give this search the same")
  task, _, state = _end_of_search(before, run)
  if state is None:
    raise FieldError("start_from", config.start_from, "it holds no checkpoint; give a folder that still has its checkpoints")
  search, mixture = state.search, to_numpy(task.mixture(state))
  return start_from(workload.space, Variables(search.weights, search.stats), mixture, workload.initial, config.keep_operations)


def _configuration_of(run: Run, config: ImageSearchConfig) -> ImageSearchConfig:
  """Returns the configuration of the search before `config`. Raises FieldError if another version wrote it."""
  try:
    before = config_lib.replace(config, {"start_from": "", "keep_operations": 0})
    written = {**config_lib.defaults(before), **run.config}
    before = config_lib.replace(before, {path: written[path] for path in config_lib.flatten(before) if path in written})
    if before.recorded().keys() <= written.keys():
      return before
  except InputError:
    pass
  raise FieldError("start_from", config.start_from, "its search was written by another version of dnas; run that search again")


def end_of_search(config: ImageSearchConfig, folder: pathlib.Path) -> tuple[ImageWorkload, State]:
  """Returns the workload and the last state of a finished search. Raises InputError if its folder has no checkpoint any more."""
  _, workload, state = _end_of_search(config, load_run(folder))
  if state is None:
    raise InputError(f"{folder} holds no checkpoint of its search; remove the folder, and the search runs again.")
  return workload, state


def _end_of_search(config: ImageSearchConfig, run: Run) -> tuple[DartsTask, ImageWorkload, State | None]:
  parts = search_parts(config, force=True)  # the finished search had enough memory
  workload: Any = parts.workload
  task = config.task(workload, 0, limit=parts.limit)
  return task, workload, _end_of(task, config, run)


def _end_of(task: DartsTask, config: ImageSearchConfig, run: Run) -> State | None:
  """Returns the last state of a search. Searches that ran side by side have one checkpoint, in the folder above theirs."""
  together = SeedsTask([task] * config.num_seeds) if config.num_seeds > 1 else None
  with Checkpoints((run.folder.parent if together else run.folder) / "checkpoints") as checkpoints:
    found = checkpoints.restore((together or task).init())
  if found is None or together is None:
    return found and found.state
  return together.alone(found.state, config.seed - load_run(run.folder.parent).config["seed"])


def train_parts(config: ImageTrainConfig, genotype: Genotype | None, force: bool = False, begun: bool = False) -> TrainParts:
  """Builds the training of a genotype, or of the configured model where there is none.

  A training that has `begun` goes on from its own checkpoint. So it does without the folder that it started from.

  Raises:
    InputError: if a value does not fit the data, if the weights to start from are not of this network, or, without `force`, if the training
      needs more memory than there is.
  """
  dataset = datasets.from_config(config.data)
  kind = config.model
  if genotype is None:
    estimate = _check_memory_of_model(config, dataset, force)
  elif genotype.space in CHAIN_SPACES:
    layers = chain_convolutions(config.network, genotype, dataset.train.images.shape[-1])
    estimate = _check_memory_of_layers(layers, config, dataset, force)
    kind = f"network: {counted(config.network.channels, 'channel')} in a layer of width 1"
  else:
    nodes, edges, outputs = sizes.of_genotype([cell for _, cell in genotype.cells])
    shape = {"states": SPACES[genotype.space].num_inputs + nodes, "outputs": outputs, "edges": edges, "operations": 1}
    estimate = _check_memory(config.network, "network", config.data, dataset, shape, 1, force)
    kind = _of_cells("network", config.network)
  initial = _weights_before(config, genotype, begun) if config.start_from else None
  try:
    task = images.RetrainTask(config.train, builder(config, genotype), config.data, dataset, config.seed, initial)
  except InputError as e:
    if initial is None or isinstance(e, FieldError):
      raise
    hint = "its weights are of a network with other settings; give this training the same"
    raise FieldError("start_from", config.start_from, hint) from None

  def describe(state: images.TrainState) -> dict[str, float]:
    return dataclasses.asdict(task.costs()) | ({} if config.test else {"latency": task.latency(state)})

  def tester(state: images.TrainState) -> Callable[[Split], dict[str, float]]:
    return lambda split: {f"test/{name}": value for name, value in task.evaluate(state, placed(split)).items()}

  about = _described(dataset, task.examples, kind, trained(task.init().weights))
  kept = _kept(dataset, config.data) or {ABOUT: About.of(dataset).to_json()}
  return TrainParts(kept, about, estimate, task=task, dataset=dataset, describe=describe, tester=tester)


def _kept(dataset: ImageDataset, data: DataConfig) -> Mapping[str, str]:
  """Returns the name and the text of the file that describes images of a user's own, as these may change on disk; empty for others."""
  return {ABOUT: described(dataset)} if isinstance(datasets.DATASETS[data.dataset], OwnImages) else {}


def _weights_before(config: ImageTrainConfig, genotype: Genotype | None, begun: bool) -> Variables | None:
  """Reads the weights of the training in `config.start_from`; None if it is gone and this training has begun.

  Raises:
    FieldError: if it is no finished training of this network.
  """
  before = read_start(config.start_from, begun, load)
  if before is None:
    return None
  if not isinstance(before.model, ImageClassifier) or (before.config.model, before.genotype) != (config.model, genotype):
    raise FieldError("start_from", config.start_from, "it is a training of another network; give this training the same")
  return before.model.variables


def _check_memory(
  network: SupernetConfig | NetworkConfig,
  component: str,
  data: DataConfig,
  dataset: ImageDataset,
  shape: Mapping[str, int],
  seeds: int,
  force: bool,
) -> memory.Estimate:
  """Returns the estimate of a network. `shape` is the shape of the largest cell.

  Raises:
    InputError: if the network needs more memory than there is; not with `force`.
  """
  # The first cell reads images of these sides: the stem imagenet has three strides of 2.
  sides = [-(-side // 8) if network.stem == "imagenet" else side for side in dataset.train.images.shape[1:3]]
  estimate = sizes.image_network(
    channels=network.channels,
    cells=network.cells,
    stem_multiplier=network.stem_multiplier,
    image_shape=(*sides, dataset.train.images.shape[-1]),
    num_classes=dataset.num_classes,
    keeps_edges=not network.rematerialize,
    **_batches(data, dataset),
    **shape,
  ).times(seeds)
  return _check_fits(estimate, dataset, f"--{component}.channels or --{component}.cells", force)


def _check_memory_of_model(config: ImageTrainConfig, dataset: ImageDataset, force: bool) -> memory.Estimate:
  """Returns the estimate of a human-designed network. Raises InputError if it needs more memory than there is; not with `force`."""
  layers = config.make_model().convolutions(dataset.train.images.shape[-1])
  return _check_memory_of_layers(layers, config, dataset, force)


def _check_memory_of_layers(
  layers: list[sizes.Convolution], config: ImageTrainConfig, dataset: ImageDataset, force: bool
) -> memory.Estimate:
  estimate = sizes.convolutions(layers, dataset.train.images.shape[1:], **_batches(config.data, dataset))
  return _check_fits(estimate, dataset, f"or the size of the network by the flags --{config.model or 'network'}.FIELD", force)


def _batches(data: DataConfig, dataset: ImageDataset) -> dict[str, int]:
  """Returns the examples of a batch on one device, in a gradient and in a validation, and the padding of its images."""
  examples, devices_of_batch = len(dataset.train), devices.shared_by()
  batch, eval_batch = (-(-min(size, examples) // devices_of_batch) for size in (data.batch_size, data.eval_batch_size))
  return {"batch": batch, "eval_batch": eval_batch, "padding": data.crop_padding}


def _check_fits(estimate: memory.Estimate, dataset: ImageDataset, lower: str, force: bool) -> memory.Estimate:
  hint = f"lower --data.batch_size, --data.eval_batch_size, --data.crop_padding, {lower}"
  whole = dataclasses.replace(estimate, data=dataset.train.images.nbytes)
  memory.check_fits(whole, hint, force)
  return whole


def _of_cells(kind: str, size: SupernetConfig | NetworkConfig) -> str:
  return f"{kind}: {counted(size.channels, 'channel')}, {counted(size.cells, 'cell')}"


def _described(dataset: ImageDataset, examples: tuple[int, int], network: str, weights: int) -> str:
  """Returns a line on the data and one on the network."""
  shape = "x".join(map(str, dataset.train.images.shape[1:]))
  validation = f" and {examples[1]:,} to validate" if examples[1] else ""
  data = f"{dataset.name}: {counted(examples[0], 'image')} of {shape} to train on{validation}, {dataset.num_classes} classes"
  return f"{data}\n{network}, {weights:,} weights"
