"""Searches for an architecture.

  python -m experiments.search --preset=digits_demo --workdir=runs/first
  python -m experiments.search --preset=text_demo --workdir=runs/first_text

The run's folder then holds the genotype of every epoch, the final one (genotype.json), metrics, checkpoints and pictures. The same
command again resumes a run that was stopped or killed. `experiments.train --genotype=runs/first` retrains what was found.
"""

import sys

import jax

from dnas.core import config as config_lib
from dnas.core.errors import FieldError
from dnas.report.plots import save_pictures
from dnas.search import darts, diagnostics
from experiments import _flags, _image, _language, _run
from experiments.configs import NASBENCH201_SEARCH, ImageSearchConfig, LanguageSearchConfig


def run(config: ImageSearchConfig | LanguageSearchConfig, options: _flags.Options, given: set[str]) -> None:
  """Runs or resumes a search, and prints and draws what it found."""
  for path in sorted(given):
    if reason := config.idle(path):
      raise FieldError(path, config_lib.flatten(config)[path], reason)
  _flags.require_workdir(options)
  _run.prepare(options)
  parts = (_language if isinstance(config, LanguageSearchConfig) else _image).search_parts(config)
  estimator, method, key = config.make_hypergradient(), config.make_method(), jax.random.key(config.seed)
  task = darts.DartsTask(config.darts, parts.workload, estimator, key, method, config.remedies, parts.start)
  with _run.open_folder(options, "search", config_lib.flatten(config), parts) as folder:
    position = _run.run(task, folder, options, task.stops)
    result = task.result(position.history)
    folder.write_genotype(result.genotype.to_json())
    folder.write_result({"genotype": result.genotype.to_json(), "seconds": result.cost, **result.metrics})
    save_pictures(folder.path, task.space)
    if task.stops(position.history):
      print(f"\nstopped early after epoch {len(position.history)}: the dominant eigenvalue has grown")
    if warning := diagnostics.collapse(task.space, result.genotype):
      print(f"\nwarning: {warning}")
    print(f"\nfound: {result.genotype}")
    print(f"pictures: {folder.path / 'pictures'}")
    retraining = f"{options.preset}_retrain"
    recipe = f"--preset={retraining}" if retraining in _flags.preset_names() else f"--space={config.space}"
    print(f"retrain it: python -m experiments.train {recipe} --genotype={options.workdir} --workdir=FOLDER")


BY_SPACE = {"darts_recurrent": LanguageSearchConfig(), "nasbench201": NASBENCH201_SEARCH}
LAUNCHER = _flags.Launcher("search", ImageSearchConfig(), run, __doc__, BY_SPACE)
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
