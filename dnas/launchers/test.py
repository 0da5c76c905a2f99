"""Tests a finished training again, on any of its splits or on another data set. Images are also reported by class, as a confusion matrix.

  dnas test --run=runs/first_retrained
  dnas test --run=runs/first_retrained --split=train
  dnas test --run=runs/first_retrained --data.dataset=cifar10 --data.data_dir=/data/cifar10_1

The results go to the folder `tests` in that of the training, or to --workdir: JSON, and the matrix as PNG and SVG. Every reading of a test
set is a line in the file test_readings.jsonl of the training, with its date, command and numbers.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from dnas.core import config as config_lib
from dnas.core import devices, durable
from dnas.core.config import check, check_name, check_types
from dnas.core.errors import counted, shown
from dnas.core.paths import expanded
from dnas.core.records import BY_CLASS
from dnas.data import base, batches, datasets
from dnas.data.metrics import METRICS, check_metrics
from dnas.data.text import UNKNOWN
from dnas.launchers import _flags, _output, _run, _trained
from dnas.launchers.configs import ImageTrainConfig, LanguageTrainConfig
from dnas.report import confusion
from dnas.report.figures import save_both
from dnas.run import readings
from dnas.train.classifier import ImageClassifier
from dnas.train.image_pipeline import Evaluate
from dnas.train.text_model import TextModel

SPLITS = ("test", "valid", "train")


@dataclasses.dataclass(frozen=True)
class Data:
  """The data to test on.

  Attributes:
    dataset: name of a data set, or of a text; empty for that of the training. Its classes must be classes of the network.
    data_dir: folder of that data set; empty for that of the training, or for a built-in one.
  """

  dataset: str = ""
  data_dir: str = ""

  def __post_init__(self):
    check_types(self)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """The settings of a test.

  Attributes:
    run: folder of a finished training.
    split: what is read: test, valid or train. The last two are the parts into which the training divided its training set.
    metrics: further metrics of a classifier, with commas between their names; empty for those of the training.
  """

  run: str = ""
  split: str = config_lib.named("test", lambda: SPLITS)
  metrics: tuple[str, ...] = config_lib.named((), lambda: METRICS)
  data: Data = dataclasses.field(default_factory=Data)

  def __post_init__(self):
    check_types(self)
    check_name("split", self.split, SPLITS)
    check_metrics(self.metrics)


def run(config: EvaluationConfig, options: _flags.Options, given: set[str]) -> None:
  """Tests a network, writes the results, and prints them."""
  _flags.require_one_process(options)
  _run.prepare(options)
  trained = _trained.load_flag(config.run)
  tested = _tested(trained.config, config)
  name = " in ".join(filter(None, [tested.data.dataset, tested.data.data_dir]))
  numbers, counts = _measured(trained, tested, config.split)
  if config.split == "test":
    readings.add(trained.folder, name, numbers)  # before anybody sees the numbers
  folder = expanded("--workdir", options.workdir) if options.workdir else trained.folder / "tests"
  path = folder / f"{tested.data.dataset}_{config.split}"
  durable.make_folder(folder)
  result: dict[str, Any] = {"run": str(trained.folder), "dataset": name, "split": config.split, **numbers}
  if counts is not None and isinstance(trained.model, ImageClassifier):
    names = trained.model.class_names
    result |= {"class_names": names, "confusion": counts.tolist()}
    print(confusion.table(counts, names, f"{config.split} of {name}, by class").to_markdown())
    if len(names) <= _SHOWN:
      print(confusion.matrix_table(counts, names, "True classes in rows, predicted ones in columns").to_markdown())
    _output.drawn(lambda: save_both(confusion.figure(counts, names, f"{config.split} of {name}"), path))
  durable.write(path.with_suffix(".json"), json.dumps(result, indent=2) + "\n")
  print("  ".join(f"{key} {value:.4f}" for key, value in numbers.items() if BY_CLASS not in key))
  print(f"results: {path}.json")
  if config.split == "test":
    print(readings.told(readings.load(trained.folder)))


def _tested(own: _trained.AnyConfig, config: EvaluationConfig) -> _trained.AnyConfig:
  """Returns the configuration of the training with the data to test on. Another data set is read whole, divided in its own way."""
  changes: dict[str, Any] = {f"data.{name}": value for name, value in dataclasses.asdict(config.data).items() if value}
  if changes:
    whole = {"data.examples": 0, "data.split": "", "data.split_seed": 0} if isinstance(own, ImageTrainConfig) else {"data.tokens": 0}
    changes = {"data.data_dir": "", **whole, **changes}
  if config.metrics:
    hint = "they are metrics of classifiers, and this is a language model, so leave it out"
    check(isinstance(own, ImageTrainConfig), "metrics", ",".join(config.metrics), hint)
    changes["data.metrics"] = config.metrics
  return config_lib.replace(own, changes)


def _measured(trained: _trained.Trained, tested: _trained.AnyConfig, split: str) -> tuple[dict[str, float], np.ndarray | None]:
  """Returns the numbers that the training itself measures, and the confusion matrix of a classifier.

  Raises:
    InputError: for data that are not there, or do not fit the network.
  """
  if isinstance(trained.model, ImageClassifier) and isinstance(tested, ImageTrainConfig):
    return _of_images(trained, trained.model, tested, split)
  assert isinstance(trained.model, TextModel) and isinstance(tested, LanguageTrainConfig)
  return _of_text(trained.model, tested, split), None


def _of_images(
  trained: _trained.Trained, model: ImageClassifier, tested: ImageTrainConfig, split: str
) -> tuple[dict[str, float], np.ndarray]:
  dataset = datasets.from_config(tested.data)
  found, wanted = list(dataset.train.images.shape[1:]), list(model.about.image_shape)
  hint = f"its images have the shape {found}, and those of the training {wanted}; give images of that shape"
  check(found == wanted, "data.dataset", tested.data.dataset, hint)
  unknown = [name for name in dataset.class_names if name not in model.class_names]
  hint = f"its class {shown(unknown[:1])[1:-1]} is none of the network's, which are {shown(list(model.class_names))}"
  check(not unknown, "data.dataset", tested.data.dataset, hint)
  weights = None  # class weights follow the class counts of the training set, so they hold for its own data alone
  assert isinstance(trained.config, ImageTrainConfig)
  if dataclasses.replace(tested.data, metrics=trained.config.data.metrics) == trained.config.data:
    weights = base.class_weights(base.training_split(dataset, tested.data)[0], dataset.num_classes, tested.data.class_weights)
  examples = _examples(dataset, tested, split, str(trained.folder))
  known = np.array([model.class_names.index(name) for name in dataset.class_names])
  examples = base.Split(examples.images, known[examples.labels])
  evaluate = Evaluate(model.of_normalized, model.about, tested.data, weights, one_program=True)
  numbers = evaluate(devices.replicate(model.variables), batches.to_device(examples))
  predicted = model.logits(examples.images, tested.data.eval_batch_size).argmax(-1)
  return numbers, confusion.matrix(examples.labels, predicted, len(model.class_names))


def _examples(dataset: base.ImageDataset, tested: ImageTrainConfig, split: str, folder: str) -> base.Split:
  if split == "test":
    return base.open_test(dataset, f"the training in {folder} is tested again")
  train, valid = base.training_split(dataset, tested.data)
  hint = "the training used all examples of its training set, so none validate; give test or train"
  check(split == "train" or valid is not None, "split", split, hint)
  return train if split == "train" or valid is None else valid


def _of_text(model: TextModel, tested: LanguageTrainConfig, split: str) -> dict[str, float]:
  dataset = datasets.text_from_config(tested.data)
  ids = base.open_test(dataset, "a training is tested again") if split == "test" else getattr(dataset, split)
  if dataset.vocabulary.words != model.vocabulary.words:
    ids, lacking = model.vocabulary.encode(dataset.vocabulary.decode(ids))
    print(f"{counted(lacking, dataset.level)} of {len(ids):,} not in the vocabulary of the network, where '{UNKNOWN}' stands")
  return model.measure(ids, tested.train.test_batch_size if split == "test" else tested.data.eval_batch_size)


_SHOWN = 20
"""Most classes whose matrix is printed; the files have all."""

_OPTIONS = ("workdir", "imports", "compilation_cache", "compilation_cache_gb", "devices", "deterministic")
LAUNCHER = _flags.Launcher("test", EvaluationConfig(), run, __doc__, option_names=_OPTIONS)
main = LAUNCHER.main
