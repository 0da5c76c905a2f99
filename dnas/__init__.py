"""dnas: differentiable neural architecture search in JAX.

The public names, by theme; every other name is internal and may change:

  Spaces and genotypes:
    SPACES, OPERATIONS, IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, CellSpace, Genotype
  Data sets:
    DATASETS, TEXTS
  Units of your own (docs/how_to/own_units):
    STACKS, ImageStack, published, DifferentiableMethod, Relaxation, Estimate, Proposal, Evaluation, ImageDataset, Split,
    channel_statistics, METRICS
  Supernets and networks:
    ImageSupernet, DerivedImageNetwork
  Networks of your own with choices (docs/tutorials/own_network.md):
    Choice, InputChoice, WidthChoice, ChoiceSpace, ChoiceGenotype, SearchableNetwork, Arrays, search_network,
    NetworkSearchConfig, NetworkSearchResult, run_network_trials, NetworkTrialsConfig, NetworkTrials
  Methods and hypergradients:
    METHODS, HYPERGRADIENTS, STRATEGIES, EVALUATORS
  Configurations:
    ImageSearchConfig, LanguageSearchConfig, ImageTrainConfig, LanguageTrainConfig, CompareConfig, EvaluatorsConfig,
    ImageTuneConfig, LanguageTuneConfig, load_preset, PRESETS
  Runs, which resume:
    run_search, run_searches, run_training, run_comparison, run_contest, run_evaluators, run_tuning, Options, SearchResult,
    Comparison, Contest
  What was trained:
    load_run, ImageClassifier, TextModel
  Drawing:
    draw_genotype
  Errors:
    InputError

  >>> found = dnas.run_search(dnas.load_preset("digits_demo"), "runs/first")  # doctest: +SKIP
  >>> dnas.draw_genotype(found.genotype).savefig("cell.png")  # doctest: +SKIP
  >>> dnas.run_training(dnas.load_preset("digits_demo_retrain"), "runs/first_retrained", found.genotype)["test/accuracy"]  # doctest: +SKIP
  >>> dnas.load_run("runs/first_retrained").predict(images)  # doctest: +SKIP
"""

import importlib
from typing import Any

__version__ = "0.3.0"

_MODULES = {
  "dnas.cells.registries": ("SPACES", "STACKS", "IMAGE_GENOTYPES", "LANGUAGE_GENOTYPES", "published"),
  "dnas.cells.image_stack": ("ImageStack",),
  "dnas.cells.operations": ("OPERATIONS",),
  "dnas.core.space": ("CellSpace",),
  "dnas.core.genotype": ("Genotype",),
  "dnas.core.choice_space": ("ChoiceSpace", "ChoiceGenotype"),
  "dnas.cells.choices": ("Choice", "InputChoice", "WidthChoice"),
  "dnas.supernet.choice_network": ("SearchableNetwork",),
  "dnas.data.pairs": ("Arrays",),
  "dnas.launchers._method_config": ("NetworkSearchConfig",),
  "dnas.launchers._networks": ("search_network", "NetworkSearchResult"),
  "dnas.launchers._network_trials": ("run_network_trials", "NetworkTrialsConfig", "NetworkTrials"),
  "dnas.data.datasets": ("DATASETS", "TEXTS"),
  "dnas.data.base": ("ImageDataset", "Split", "channel_statistics"),
  "dnas.data.metrics": ("METRICS",),
  "dnas.supernet.image_supernet": ("ImageSupernet",),
  "dnas.nets.derived_image": ("DerivedImageNetwork",),
  "dnas.search.gradient.methods": ("METHODS", "DifferentiableMethod"),
  "dnas.supernet.relaxations": ("Relaxation",),
  "dnas.supernet.hypergradients": ("HYPERGRADIENTS", "Estimate"),
  "dnas.search.blackbox.strategies": ("STRATEGIES",),
  "dnas.launchers._evaluator_makers": ("EVALUATORS",),
  "dnas.launchers.configs": ("ImageSearchConfig", "LanguageSearchConfig", "ImageTrainConfig", "LanguageTrainConfig"),
  "dnas.launchers.compare": ("CompareConfig",),
  "dnas.launchers.evaluators": ("EvaluatorsConfig",),
  "dnas.launchers.tune": ("ImageTuneConfig", "LanguageTuneConfig"),
  "dnas.launchers._flags": ("Options",),
  "dnas.launchers._presets": ("PRESETS",),
  "dnas.launchers._python": (
    *("load_preset", "run_search", "run_searches", "run_training", "run_comparison", "run_contest", "run_evaluators", "run_tuning"),
    "draw_genotype",
  ),
  "dnas.launchers._trained": ("load_run",),
  "dnas.train.classifier": ("ImageClassifier",),
  "dnas.train.text_model": ("TextModel",),
  "dnas.core.records": ("SearchResult", "Proposal", "Evaluation"),
  "dnas.report.comparison": ("Comparison",),
  "dnas.report.contest": ("Contest",),
  "dnas.core.errors": ("InputError",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]  # pyright: ignore[reportUnsupportedDunderAll]  # a type checker reads `__init__.pyi`


def __getattr__(name: str) -> Any:
  """Imports the module of a public name when the name is first used, so that `import dnas` is quick."""
  if name not in _MODULE_OF:
    raise AttributeError(f"module 'dnas' has no public name '{name}'")
  value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
  return value


def __dir__() -> list[str]:
  return sorted(__all__)
