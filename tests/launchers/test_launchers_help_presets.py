"""What launchers say of themselves, the presets, and that every field can be set."""

import dataclasses
import json
import re
import shlex

import pytest
from other_values import is_text, other
from published_imagenet import IMAGENET, IMAGENET_RETRAINING, IMAGENET_SEARCH

from dnas.cells.registries import CHAIN_SPACES, SPACES, STACKS
from dnas.core import config as config_lib
from dnas.data.datasets import DATASETS
from dnas.data.text import TEXTS
from dnas.launchers import _flags, _presets, compare, configs, demo, describe, evaluators, export, report, search, tables, test, train, tune
from dnas.launchers import open as opening
from dnas.launchers._comparison_settings import DATASETS as TABLES
from dnas.launchers._evaluator_makers import EVALUATORS, evaluator_names
from dnas.launchers.runs import LAUNCHER as RUNS
from dnas.nets.models import IMAGE_MODELS, LANGUAGE_MODELS
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.remedies import Remedies
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.train.optimizers import SCHEDULES
from dnas.tune.study import DIRECTIONS, PRUNERS, SAMPLERS

MODULES = (search, train, test, export, describe, demo, compare, evaluators, report, tables, tune, opening)
LAUNCHERS = {module.LAUNCHER.name: module.LAUNCHER for module in MODULES} | {RUNS.name: RUNS}
PRESETS = {name: _presets._module_of(name) for name in _presets.names()}

TEXT = ("--space=darts_recurrent",)
DEFAULTS = {type(module.CONFIG): config_lib.defaults(module.CONFIG) for module in PRESETS.values()}
BASES = [(name, ()) for name in ("search", "train", "test", "export", "demo")]
BASES += [("tables", ("--run",)), ("open", ()), ("runs", ()), ("search", TEXT), ("train", TEXT), ("describe", ()), ("describe", TEXT)]
BASES += [(module.LAUNCHER, (f"--preset={name}",)) for name, module in PRESETS.items()]


def cases():
  """Every field of every configuration once, and of a preset all fields that it sets: a flag must win against that."""
  seen = set()
  for launcher, base in BASES:
    config, *_ = LAUNCHERS[launcher].parse([launcher, *base])
    for path, kind, value in config_lib.fields(config):
      known = (launcher, type(config), path) in seen and value == DEFAULTS[type(config)].get(path)
      if not known and not refused_alone(config, path):
        seen.add((launcher, type(config), path))
        name = "".join(base).rpartition("=")[2] or launcher
        yield pytest.param(launcher, base, path, kind, value, is_text(config), id=f"{name}-{launcher}-{path}")


ALONE = ("data.stream", "data.crop_area", "data.colour_jitter", "data.centre_crop", "data.image_size")
"""Fields of which each needs another."""


def refused_alone(config, path):
  """Whether a change of a field is refused unless others change with it."""
  if path in ("remedies.projection", "remedies.stop_ratio"):  # one is refused beside the other
    return config.remedies.stop_ratio > 0 if path == "remedies.projection" else config.remedies.projection
  if path == "search":  # some methods are presets named after this search
    return "darts_projection" in getattr(config, "methods", "")
  if path.endswith("space"):  # the only one for text, and another may lack the operations that are left out
    return is_text(config) or (path == "space" and bool(getattr(config, "without", "")))
  if path == "cost.weight":  # a target finds it
    return config.cost.target > 0
  if path.endswith(ALONE):
    return True
  start = path == "keep_operations" and not config.start_from or path.endswith("train.freeze")
  return start or path.endswith("ray_address") or (path.endswith("test") and not is_text(config))


@pytest.mark.parametrize("launcher, base, path, kind, value, of_text", list(cases()))
def test_every_field_is_a_flag_that_overrides_the_preset(launcher, base, path, kind, value, of_text):
  argv = [launcher, *base]
  config, options, given = LAUNCHERS[launcher].parse(argv)
  new = other(path, kind, value, of_text)
  value, text = (list(value), ",".join(map(str, new))) if kind in (tuple[int, ...], tuple[str, ...]) else (value, str(new))
  for flags in ([f"--{path}={text}"], [f"--{path}", text] if kind is not bool else [f"--{'' if new else 'no'}{path}"]):
    changed, changed_options, changed_given = LAUNCHERS[launcher].parse([*argv, *flags])
    assert config_lib.differences(config_lib.flatten(config), config_lib.flatten(changed)) == {path: (value, new)}
    assert options == changed_options and changed_given == given | {path} and json.dumps(config_lib.flatten(changed))


def test_a_space_or_a_preset_chooses_the_configuration():
  for launcher, image, text in (
    ("search", configs.ImageSearchConfig, configs.LanguageSearchConfig),
    ("train", configs.ImageTrainConfig, configs.LanguageTrainConfig),
  ):
    for flags, wanted in (((), image()), (("--space=nasnet",), image(space="nasnet")), (TEXT, text()), (("--space", TEXT[0][8:]), text())):
      config, _, given = LAUNCHERS[launcher].parse([launcher, *flags])
      assert config == wanted and type(config) is type(wanted) and given == ({"space"} if flags else set())
  for name, module in PRESETS.items():
    if module.LAUNCHER in ("tune", "evaluators"):
      continue
    config, _, given = LAUNCHERS[module.LAUNCHER].parse([module.LAUNCHER, f"--space={module.CONFIG.space}", f"--preset={name}"])
    assert config == module.CONFIG and given == {"space"} and is_text(config) == any(part in name for part in ("ptb", "wikitext2", "text"))


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull", "--help=all"])
def test_help_lists_every_flag_with_its_default_and_what_it_means(name, flag, capsys):
  launcher = LAUNCHERS[name]
  assert launcher.main([name, "--nonsense", flag]) == 0
  out, err = capsys.readouterr()
  assert err == ""
  lines, seen = out.splitlines(), set()
  halves = [launcher._default, *launcher._by_space.values()]
  titles = [f"---- With --space={config.space}, " for config in halves if len(halves) > 1]
  parts = [next(n for n, line in enumerate(lines) if line.startswith(title)) for title in titles]
  assert parts == sorted(parts) and len(parts) == (3 if name in ("search", "train", "describe") else 0)
  for index, config in enumerate((_flags.Options(), *halves)):
    own = range(parts[index - 1], [*parts[1:], len(lines)][index - 1]) if index and parts else range(0)
    elsewhere = {number for part in parts[:1] for number in range(part, len(lines))} - set(own)
    texts = config_lib.help_texts(type(config))
    components = {f"{path.partition('.')[0]}:" for path in texts if "." in path}
    alike = [other for other in halves[: max(index - 1, 0)] if type(other) is type(config)][:1]
    known = [(path, default) for other in alike for path, _, default in config_lib.fields(other)]
    untold = getattr(config, "untold", lambda path: False)
    for path, _, default in config_lib.fields(config):
      if (path, default) in known or untold(path) or (not index and path not in launcher.option_names):  # said of the other space, or not
        continue
      (here,) = [n for n, line in enumerate(lines) if line == f"  --{path}={default}" and n not in elsewhere]
      assert len(texts[path]) > 10 and lines[here + 1].startswith("      ") and texts[path].startswith(lines[here + 1].strip()), path
      heading = next(line for line in reversed(lines[:here]) if line and not line.startswith("  "))
      component = path.rpartition(".")[0]
      assert heading == f"{component}:" if component else heading not in components
      seen.add(here)
  assert seen == {n for n, line in enumerate(lines) if line.startswith("  --")} and max(map(len, lines)) <= 140
  for preset, module in PRESETS.items():
    assert any(line.startswith(f"  {preset} ") for line in lines) == (module.LAUNCHER == name)


@pytest.mark.parametrize(
  "name, flags",
  [(module.LAUNCHER, (f"--preset={name}",)) for name, module in PRESETS.items()]
  + [("search", TEXT), ("train", TEXT), ("train", ("--model=resnet",)), ("train", ("--model=mos_lstm",))],
)
def test_help_with_a_preset_a_space_or_a_model_shows_its_values(name, flags, capsys):
  assert LAUNCHERS[name].main([name, *flags, "--help"]) == 0
  shown = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  --")]
  config, _, _ = LAUNCHERS[name].parse([name, *flags])
  told = [(path, value) for one in (_flags.Options(), config) for path, _, value in config_lib.fields(one)]
  told = [one for one in told if one[0] not in set(_flags.ALL_OPTIONS) - set(LAUNCHERS[name].option_names)]
  if model := getattr(config, "model", ""):
    others = {"network", "genotype", "train.drop_path", "train.auxiliary_weight", *IMAGE_MODELS, *LANGUAGE_MODELS} - {model}
    told = [one for one in told if not {one[0], one[0].partition(".")[0]} & others]
    assert any(path.startswith(f"{model}.") for path, _ in told)
  assert shown == [f"--{path}={' '.join(value.split()) if isinstance(value, str) else value}" for path, value in told]


@pytest.mark.parametrize("flag", ["--preset=digits_dem", "--preset=digits_demo_retrain", "--space=darts_con"])
def test_help_with_what_is_not_there_is_refused(flag, capsys):
  assert search.main(["search", flag, "--help"]) == _flags.BAD_INPUT
  captured = capsys.readouterr()
  assert captured.out == "" and captured.err.startswith(f"error: {flag.partition('=')[0]}")


REGISTRIES = {
  "search": {"data.dataset": DATASETS, "space": SPACES, "method": METHODS, "hypergradient": HYPERGRADIENTS},
  "train": {"data.dataset": DATASETS, "space": [*SPACES, *CHAIN_SPACES], "train.schedule": SCHEDULES},
  "compare": {"methods": [*STRATEGIES, *METHODS], "space": [*STACKS, *CHAIN_SPACES], "evaluator": EVALUATORS, "dataset": TABLES},
  "evaluators": {"evaluators": [*evaluator_names(), "random"], "dataset": TABLES},
  "tune": {"study.sampler": SAMPLERS, "study.pruner": PRUNERS, "study.objectives": DIRECTIONS, "training.data.dataset": DATASETS},
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_help_lists_what_is_registered(name, capsys):
  wrapped = [strategy for strategy in STRATEGIES if strategy not in ("asha", "hyperband", "hill_climbing")]
  registries = REGISTRIES[name] | ({"asha.strategy": wrapped, "hyperband.strategy": wrapped} if name == "compare" else {})
  both = [(("--space=darts_conv",), {}), (TEXT, {"data.dataset": TEXTS, "space": SPACES})]
  for flags, changes in both if name in ("search", "train") else [((), {})]:
    LAUNCHERS[name].main([name, *flags, "--help"])
    parts = re.split(r"^  --([\w.]+)=.*\n", capsys.readouterr().out, flags=re.MULTILINE)
    texts = {path: " ".join(text.partition("\n\n")[0].split()) for path, text in zip(parts[1::2], parts[2::2], strict=True)}
    for path, known in (registries | changes).items():
      if path in texts:
        assert texts[path].endswith(f" Known: {', '.join(known)}.") and len(list(known)) > 1, path
    assert registries.keys() - texts.keys() <= ({"train.schedule"} if flags == TEXT else set())


def test_flags_of_all_kinds_reach_the_options():
  _, options, given = search.LAUNCHER.parse(["search", "--workdir=w", "--save_every_steps=3", "--keep_checkpoints=5", "--data.flip"])
  assert (options.workdir, options.save_every_steps, options.keep_checkpoints, given) == ("w", 3, 5, {"data.flip"})
  assert dataclasses.replace(options, workdir="", save_every_steps=200, keep_checkpoints=2) == _flags.Options()


GIVEN = {"genotype", "table", "start_from", "pool.workers", "pool.accelerators", "data.data_dir"}
"""Fields that the command of a preset may give."""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_is_from_how_it_is_run_and_what_to_expect(name):
  module = PRESETS[name]
  assert module.LAUNCHER in LAUNCHERS and _presets.load(name, module.LAUNCHER) is module.CONFIG
  said = dict(re.findall(r"^(Paper|Command|Expected result|Expected time): (.+)$", module.__doc__, re.MULTILINE))
  assert said.keys() == {"Paper", "Command", "Expected result", "Expected time"}
  words = shlex.split(said["Command"])
  assert words[:2] == ["dnas", module.LAUNCHER]
  config, options, given = LAUNCHERS[module.LAUNCHER].parse([module.LAUNCHER, *words[2:]])
  assert options.preset == name and options.workdir and given <= GIVEN
  assert config == config_lib.replace(module.CONFIG, {path: config_lib.flatten(config)[path] for path in given})


PUBLISHED_DATA = {"data.dataset": "cifar10", "data.data_dir": "", "data.examples": 0, "data.crop_padding": 4, "data.flip": True}
PUBLISHED_DATA |= {"data.split": "", "data.split_seed": 0, "data.class_weights": "none", "data.crop_reflect": False}
PUBLISHED_DATA |= {"data.random_erasing": 0.0, "data.standardize_images": False, "data.image_size": [], "data.stream": False}
PUBLISHED_DATA |= {"data.centre_crop": 0.0, "data.crop_area": 0.0, "data.colour_jitter": False, "data.metrics": []}
PUBLISHED_SEARCH = {
  **PUBLISHED_DATA,
  "space": "darts_conv",
  "seed": 2,
  "num_seeds": 1,
  "data.train_portion": 0.5,
  "data.batch_size": 64,
  "data.cutout_length": 0,
  "supernet.channels": 16,
  "supernet.cells": 8,
  "supernet.stem_multiplier": 3,
  "supernet.stem": "small",
  "supernet.precision": "float32",
  "supernet.rematerialize": False,
  "darts.epochs": 50,
  "darts.optimizer": "sgd",
  "darts.learning_rate": 0.025,
  "darts.final_learning_rate": 0.001,
  "darts.momentum": 0.9,
  "darts.weight_decay": 3e-4,
  "darts.gradient_clip": 5.0,
  "darts.arch_learning_rate": 3e-4,
  "darts.arch_beta1": 0.5,
  "darts.arch_beta2": 0.999,
  "darts.arch_weight_decay": 1e-3,
  "darts.arch_init_scale": 1e-3,
}
PUBLISHED_RETRAINING = {
  **PUBLISHED_DATA,
  "space": "darts_conv",
  **{"genotype": "DARTS_V2", "model": ""},
  "test": True,
  "seed": 0,
  "data.train_portion": 1.0,
  "data.batch_size": 96,
  "data.cutout_length": 16,
  "network.channels": 36,
  "network.cells": 20,
  "network.stem_multiplier": 3,
  "network.stem": "small",
  "network.precision": "float32",
  "network.rematerialize": False,
  "network.auxiliary": True,
  **{"network.drop_path_by_depth": False, "network.dropout": 0.0},
  "train.epochs": 600,
  "train.learning_rate": 0.025,
  "train.final_learning_rate": 0.0,
  "train.schedule": "cosine",
  **{"train.milestones": [], "train.milestone_factor": 0.1, "train.every_step": False, "train.drop_path_every_step": False},
  **{"train.warmup_epochs": 0, "train.warmup_learning_rate": 1e-3},
  **{"train.decay_vectors": True, "train.label_smoothing": 0.0},
  "train.momentum": 0.9,
  "train.nesterov": False,
  "train.weight_decay": 3e-4,
  "train.gradient_clip": 5.0,
  "train.auxiliary_weight": 0.4,
  "train.freeze": False,
  "start_from": "",
  "train.drop_path": 0.2,
}
PTB = {
  "space": "darts_recurrent",
  "data.dataset": "ptb",
  "data.data_dir": "",
  "data.level": "word",
  "data.tokens": 0,
  "data.eval_batch_size": 10,
  "data.sequence_length": 35,
  "data.short_probability": 0.05,
}
PTB_SEARCH = {
  **PTB,
  "seed": 3,
  "num_seeds": 1,
  "shared_masks": True,
  "data.batch_size": 256,
  "data.length_deviation": 0.0,
  "supernet.units": 300,
  "supernet.dropout_words": 0.0,
  "supernet.dropout_embedding": 0.2,
  "supernet.dropout_inputs": 0.75,
  "supernet.dropout_hidden": 0.25,
  "supernet.dropout_output": 0.75,
  "supernet.activation_penalty": 0.0,
  "supernet.temporal_penalty": 1e-3,
  "supernet.precision": "float32",
  "darts.epochs": 50,
  "darts.optimizer": "sgd",
  "darts.learning_rate": 20.0,
  "darts.final_learning_rate": 20.0,
  "darts.momentum": 0.0,
  "darts.weight_decay": 5e-7,
  "darts.gradient_clip": 0.25,
  "darts.arch_learning_rate": 3e-3,
  "darts.arch_beta1": 0.9,
  "darts.arch_beta2": 0.999,
  "darts.arch_weight_decay": 1e-3,
  "darts.arch_init_scale": 1e-3,
}
PTB_RETRAINING = {
  **PTB,
  **{"genotype": "DARTS_V2", "model": "", "start_from": "", "dynamic_evaluation": False, "train.average_from_start": False},
  "test": True,
  "seed": 1267,
  "data.batch_size": 64,
  "data.length_deviation": 5.0,
  "network.units": 850,
  "network.dropout_words": 0.1,
  "network.dropout_embedding": 0.2,
  "network.dropout_inputs": 0.75,
  "network.dropout_hidden": 0.25,
  "network.dropout_output": 0.75,
  "network.activation_penalty": 0.0,
  "network.temporal_penalty": 1e-3,
  "network.precision": "float32",
  "train.epochs": 3600,
  "train.learning_rate": 20.0,
  "train.weight_decay": 8e-7,
  "train.gradient_clip": 0.25,
  "train.patience": 5,
  "train.test_batch_size": 1,
}
WIKITEXT2 = {"data.dataset": "wikitext2", "network.units": 700, "network.dropout_hidden": 0.15, "train.weight_decay": 5e-7}
MODELS = rf"({'|'.join([*IMAGE_MODELS, *LANGUAGE_MODELS, 'dynamic'])})\."
PLAIN = {f"remedies.{name}": value for name, value in dataclasses.asdict(Remedies()).items()}
PLAIN |= {"method": "darts", "without": "", "darts.arch_warmup_epochs": 0, "darts.diagnose_every": 5}
STAGE = {"start_from": "", "keep_operations": 0}
STAGE |= {f"cost.{name}": value for name, value in dataclasses.asdict(configs.CostConfig()).items()}
FIRST_ORDER = {"hypergradient": "first_order"}
SECOND_ORDER = {"hypergradient": "finite_difference", "finite_difference.radius": 0.01, "finite_difference.through_clip": False}
UNCLIPPED, CLIPPED = {"finite_difference.clipped": False}, {"finite_difference.clipped": True}
OTHERS = r"(pc_darts|gdas|drnas|gaea|snas|fair_darts)\."
OTHER_ESTIMATORS = r"|(finite_difference|unrolled|implicit_\w+)\."
NO_RESULT = {"data.eval_batch_size", "data.buckets", "data.stream_workers", "data.test_portion", "data.test_seed", "data.valid_portion"}
"""These change no result: the batches of validation, the padded lengths of windows of text, and the division of files of one's own."""


@pytest.mark.parametrize(
  "name, published, unused",
  [
    # the settings of other estimators do nothing
    ("darts_cifar10_first_order", PUBLISHED_SEARCH | PLAIN | STAGE | FIRST_ORDER, OTHERS + OTHER_ESTIMATORS),
    ("darts_cifar10_second_order", PUBLISHED_SEARCH | PLAIN | STAGE | SECOND_ORDER | UNCLIPPED, OTHERS + r"|(unrolled|implicit_\w+)\."),
    ("darts_cifar10_retrain", PUBLISHED_RETRAINING, MODELS),
    ("darts_imagenet_retrain", PUBLISHED_RETRAINING | IMAGENET | IMAGENET_RETRAINING, MODELS),
    ("darts_imagenet_search", PUBLISHED_SEARCH | PLAIN | STAGE | IMAGENET_SEARCH, OTHERS.replace("pc_darts|", "") + OTHER_ESTIMATORS),
    ("darts_ptb_first_order", PTB_SEARCH | PLAIN | FIRST_ORDER, OTHERS + OTHER_ESTIMATORS),
    ("darts_ptb_second_order", PTB_SEARCH | PLAIN | SECOND_ORDER | CLIPPED, OTHERS + r"|(unrolled|implicit_\w+)\."),
    ("darts_ptb_retrain", PTB_RETRAINING, MODELS),
    ("darts_wikitext2_retrain", PTB_RETRAINING | WIKITEXT2, MODELS),
  ],
)
def test_published_presets_hold_the_published_figures(name, published, unused):
  config = PRESETS[name].CONFIG
  ignored = {path for path in NO_RESULT if not (is_text(config) and path == "data.eval_batch_size")}  # of a text it is the context
  flat = config_lib.flatten(config)
  assert {path: value for path, value in flat.items() if path not in ignored and not re.match(unused, path)} == published


def test_the_published_presets_are_all_tested():
  marks = test_published_presets_hold_the_published_figures.pytestmark
  assert {case[0] for mark in marks for case in mark.args[1]} == {name for name in PRESETS if name.startswith("darts_")}


DEMOS = {
  "digits_demo": (
    "darts_cifar10_first_order",
    {"supernet.channels", "supernet.cells", "darts.epochs", "darts.learning_rate", "darts.arch_learning_rate"}
    | {"data.dataset", "data.crop_padding", "data.flip"},
  ),
  "text_demo": (
    "darts_ptb_first_order",
    {"method", "supernet.units", "darts.epochs", "darts.learning_rate", "darts.final_learning_rate", "darts.arch_learning_rate"}
    | {"data.dataset", "data.batch_size", "data.sequence_length", "data.buckets"}
    | {f"supernet.dropout_{of}" for of in ("embedding", "inputs", "hidden", "output")},
  ),
}


@pytest.mark.parametrize("name", DEMOS)
def test_the_demonstrations_differ_from_the_published_recipe_in_method_size_and_rates_alone(name):
  published, free = DEMOS[name]
  small, recipe = (config_lib.flatten(PRESETS[preset].CONFIG) for preset in (name, published))
  assert set(config_lib.differences(small, recipe)) <= free


def test_a_launcher_without_presets_says_so(capsys):
  assert demo.main(["demo", "--preset=zzz", "--workdir=never_made"]) == 2
  assert capsys.readouterr().err == "error: --preset is zzz; dnas demo has none, so leave it out.\n"
  assert demo.main(["demo", "--preset=digits_demo", "--workdir=never_made"]) == 2
  assert "--preset=digits_demo is for dnas search and this is dnas demo" in capsys.readouterr().err
