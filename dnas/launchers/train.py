"""Trains one network from scratch, that of an architecture or a human-designed one, and tests it once, after the last epoch.

  dnas train --preset=digits_demo_retrain --genotype=runs/first --workdir=runs/first_retrained
  dnas train --preset=text_demo_retrain --genotype=runs/first_text --workdir=runs/first_text_retrained
  dnas train --model=pyramidnet --pyramidnet.depth=110 --workdir=runs/pyramidnet

--genotype takes a published name (DARTS_V2), the folder of a search, random:SEED, a genotype, or a file with a genotype. A genotype is
written as JSON or as 'Genotype(normal=[...], ...)'; with --space=nasbench201 also as a string of that benchmark, '|nor_conv_3x3~0|+|...'.
The same command again resumes a run that was stopped or killed. With a larger --train.epochs it makes a run longer, if nothing in it
depends on the number of epochs: --train.schedule=constant, and --train.drop_path=0 in networks of cells.
"""

import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from dnas.cells.registries import CHAIN_SPACES, FORMER_NAMES, SPACES, any_space
from dnas.core import config as config_lib
from dnas.core import devices, json_files
from dnas.core.config import check_name
from dnas.core.costs import counted_adds
from dnas.core.errors import InputError, cause_of, shown, unknown_name
from dnas.core.genotype import Genotype
from dnas.core.paths import expanded
from dnas.core.space import NONE
from dnas.data import base
from dnas.launchers import _commands, _flags, _image, _language, _longer, _output, _pages, _plan, _run
from dnas.launchers.configs import NASBENCH201_TRAIN, ImageTrainConfig, LanguageTrainConfig, is_of_text
from dnas.nets.models import LANGUAGE_MODELS
from dnas.report.plots import save_pictures
from dnas.run import loop, readings


def load_genotype(text: str, space_name: str = "darts_conv", flag: str = "genotype") -> Genotype:
  """Returns the genotype that a flag names, checked against its space.

  Args:
    text: a published name, a folder, a file, random:SEED, or the genotype itself.
    space_name: the space that random:SEED draws from, and the space of a genotype that names none. A file may name another space for the
      same kind of data.
    flag: the name of the flag.

  Raises:
    InputError: if there is no such genotype, or it is not a network of its space.
  """
  space, is_text = any_space(space_name), is_of_text(space_name)
  text = FORMER_NAMES.get(text, text)
  known, others = (_language.GENOTYPES, _image.GENOTYPES) if is_text else (_image.GENOTYPES, _language.GENOTYPES)
  if text in known:
    return known[text]
  if text in others:
    raise _of_the_other_half(f"--{flag}={text} is", others[text], space_name)
  if text.lstrip().startswith(("{", "Genotype(", "|")):
    return _checked(space.parse(text, f"--{flag}"), f"--{flag}", space_name)
  kind, _, seed = text.partition(":")
  if kind == "random":
    if not (seed.isdecimal() and len(seed) <= 20):
      raise InputError(f"--{flag}={text[:60]} has no seed; write random:0, random:1, ...")
    return space.sample(np.random.default_rng(int(seed)))
  try:
    path = expanded(f"--{flag}", text)
    if path.is_dir():
      path = path / "genotype.json"
      if not path.exists():
        seeds = sorted(folder.name for folder in path.parent.glob("seed_*"))
        here = f", here that of a seed, such as {text.rstrip('/')}/{seeds[0]}" if seeds else ""
        raise InputError(f"--{flag}={text} holds no genotype.json; give the folder of a finished search{here}.")
    if not path.is_file():
      raise FileNotFoundError
    content = path.read_text(encoding="utf-8")
  except FileNotFoundError:
    check_name(flag, text, known, others="the folder of a search, a file with a genotype, or random:SEED")
    raise
  except UnicodeDecodeError:
    raise InputError(f"--{flag}={text} is not text; give a file with a genotype.") from None
  except OSError as e:  # a name that is too long or forbidden
    raise InputError(f"--{flag}={shown(text)} cannot be read ({cause_of(e)}); give a published name, a folder or a file.") from None
  return _checked(space.parse(content, str(path)), str(path), space_name)


def _checked(found: Genotype, where: str, space_name: str) -> Genotype:
  """Returns the genotype `found`. Raises InputError if it is not a network of its space, or if its space is for another kind of data."""
  is_text = is_of_text(space_name)
  if found.space not in SPACES and found.space not in CHAIN_SPACES:
    raise InputError(f"{where}: {unknown_name('space', found.space, [*SPACES, *CHAIN_SPACES])}")
  if is_of_text(found.space) != is_text:
    raise _of_the_other_half(f"{where} holds", found, space_name)
  operations = tuple(name for name in SPACES[found.space].operations if name != NONE) if is_text else None
  return any_space(found.space).validate(found, operations, where=where)


def _of_the_other_half(what: str, found: Genotype, space_name: str) -> InputError:
  hint = f"give --space={found.space} or a preset for {'text' if is_of_text(found.space) else 'images'}"
  return InputError(f"{what} a cell of the space '{found.space}', and '{space_name}' was asked for; {hint}.")


def genotype_of(config: ImageTrainConfig | LanguageTrainConfig, flag: str = "genotype") -> Genotype | None:
  """Returns the genotype of a training, None for a human-designed network. Raises InputError as `load_genotype` does."""
  return None if config.model else load_genotype(config.genotype, config.space, flag)


def parts_of(
  config: ImageTrainConfig | LanguageTrainConfig, force: bool, begun: bool = False
) -> tuple[Genotype | None, _run.TrainParts]:
  """Returns the genotype of a training, None for a human-designed network, and the parts. Raises InputError if they do not fit together.

  Args:
    config: the training.
    force: see `Options`.
    begun: whether the training has a checkpoint.
  """
  genotype = genotype_of(config)
  if isinstance(config, LanguageTrainConfig):
    return genotype, _language.train_parts(config, genotype, force, begun)
  return genotype, _image.train_parts(config, genotype, force, begun)


def run(
  config: ImageTrainConfig | LanguageTrainConfig,
  options: _flags.Options,
  given: set[str],
  early_stop: Callable[[list[loop.HistoryRecord]], bool] = lambda history: False,
  draws: bool = True,
) -> None:
  """Trains or resumes a network, tests it once, and draws the cells. A training that stops early has no result, and can be resumed."""
  _flags.refuse_idle(config, given)
  if not options.dry_run:
    _flags.require_workdir(options)
  _run.prepare(options)
  checkpoints = expanded("--workdir", options.workdir) / "checkpoints"
  begun = bool(options.workdir) and checkpoints.is_dir() and any(path.name.isdecimal() for path in checkpoints.iterdir())
  genotype, parts = parts_of(config, options.force, begun)
  name = f"{config.genotype} in the space {genotype.space}" if genotype else config.model
  what = f"training of {name}: {_run.length_of(parts.task)}"
  if options.dry_run:
    _plan.tell_training(what, parts)
    return
  flat = config.recorded() | ({"architecture": genotype.to_json()} if genotype else {})
  longer = _longer.check(config, options)
  volatile = [*_run.VOLATILE, *[_longer.EPOCHS] * longer]
  with _run.open_folder(options, "train", flat, parts, config_lib.defaults(config), volatile, what) as folder:
    if longer:
      folder.lengthen(_longer.EPOCHS, parts.task.epochs)
    position = _run.run(parts.task, folder, options, lambda history: parts.ends(history) or early_stop(history), parts.grown)
    if len(position.history) < parts.task.epochs and not parts.ends(position.history):
      return
    if genotype:
      folder.write_genotype(genotype.to_json())
    result = read_result(folder.path)
    if not devices.vote(result is not None):
      metrics = parts.describe(position.state)
      if config.test:
        test = parts.tester(position.state)
        found = test(base.open_test(parts.dataset, f"the training in {folder.path} has come to its end"))
        if devices.is_first():
          readings.add(folder.path, config.data.dataset, {key.removeprefix("test/"): value for key, value in found.items()})
        metrics |= found
      folder.write_result({**_named(config, genotype), **position.history[-1]["metrics"], **metrics})
    pictures = _output.drawn(lambda: save_pictures(folder.path, genotype and any_space(genotype.space))) if draws else None
    result = read_result(folder.path) if devices.is_first() else None
  if result is None:
    return
  measure, unit, value = outcome_of(result)
  split = measure.split()[0]
  balanced = result.get("test/balanced_accuracy", result.get("valid/balanced_accuracy"))
  told = "" if balanced is None else f"  {split} balanced error {100 * (1 - balanced):.2f} %"
  told += f"  dynamic {result['test/dynamic_perplexity']:.2f}" if "test/dynamic_perplexity" in result else ""
  print(f"\n{measure} {value:.2f}{unit}{told}  {split} loss {loss_of(result):.4f}  weights {result['weights']:,}{_adds(result)}")
  if pictures:
    print(f"pictures: {folder.path / 'pictures'}")
  if draws:
    _pages.save_or_warn(folder.path, LAUNCHER)


def _adds(result: Mapping[str, Any]) -> str:
  """Returns the multiply-adds in words; an empty text for a result of an earlier version, which has none."""
  return f"  {counted_adds(result['multiply_adds'])}" if "multiply_adds" in result else ""


def _named(config: ImageTrainConfig | LanguageTrainConfig, genotype: Genotype | None) -> dict[str, Any]:
  """Returns what a result says of the network."""
  if genotype is None:
    return {"model": config.model}
  return {"genotype": json.loads(genotype.to_json()), "notation": any_space(genotype.space).notation(genotype)}


def command_of(config: ImageTrainConfig | LanguageTrainConfig, workdir: str) -> str:
  """Returns the command that runs a training in a folder."""
  base = config_lib.flatten(BY_SPACE.get(config.space, type(config)()))
  changed = {path: value for path, value in config_lib.flatten(config).items() if base[path] != value}
  return _commands.command("train", {"space": config.space} | changed | {"workdir": workdir})


def read_result(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns what a training ended in, or None if it has not ended. Raises InputError if its result.json holds something else."""

  def outcome(result: Mapping[str, Any]) -> json_files.Fields:
    split = _split_of(result)
    measure = "perplexity" if f"{split}/perplexity" in result else "accuracy"
    return {f"{split}/{measure}": json_files.NUMBER, f"{split}/loss": json_files.NUMBER}

  result = json_files.read_result(folder, {"weights": int}, outcome)
  if result is not None:
    numbers = {name: result[name] for name in ("weights", *outcome(result))}
    if result["weights"] < 1 or not all(number >= 0 for number in numbers.values()):  # nan is not
      told = ", ".join(f"{name} {number}" for name, number in numbers.items())
      raise InputError(f"{folder / 'result.json'} holds {told}; give the file that the launcher wrote.")
  return result


def result_of(folder: pathlib.Path) -> dict[str, Any]:
  """Returns what a training that has ended has ended in. Raises InputError as `read_result` does, and if there is nothing."""
  return json_files.present(read_result(folder), folder)


class Outcome(NamedTuple):
  """The number that a training is judged by, lower is better: 'test error', ' %', 2.76, or 'test perplexity', '', 55.7.

  It is of the validation set where the test set was not opened.
  """

  measure: str
  unit: str
  value: float


def outcome_of(result: Mapping[str, Any]) -> Outcome:
  """Returns the outcome of the result of a training."""
  split = _split_of(result)
  name = {"test": "test", "valid": "validation"}[split]
  if f"{split}/perplexity" in result:
    return Outcome(f"{name} perplexity", "", result[f"{split}/perplexity"])
  return Outcome(f"{name} error", " %", 100 * (1 - result[f"{split}/accuracy"]))


def _split_of(result: Mapping[str, Any]) -> str:
  return "test" if any(key.startswith("test/") for key in result) else "valid"


def loss_of(result: Mapping[str, Any]) -> float:
  """Returns the loss of the same split, in nats."""
  return result[f"{_split_of(result)}/loss"]


BY_SPACE = {"darts_recurrent": LanguageTrainConfig(), "nasbench201": NASBENCH201_TRAIN}
BY_MODEL = dict.fromkeys(LANGUAGE_MODELS, LanguageTrainConfig())
LAUNCHER = _flags.Launcher("train", ImageTrainConfig(), run, __doc__, BY_SPACE, BY_MODEL, _flags.ALL_OPTIONS)
main = LAUNCHER.main

if __name__ == "__main__":
  logging.set_verbosity(logging.INFO)
  sys.exit(main(sys.argv))
