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
from dnas.search import darts
from dnas.supernet.hypergradients import HYPERGRADIENTS
from experiments import _flags, _image, _language, _run
from experiments.configs import ImageSearchConfig, LanguageSearchConfig


def run(config: ImageSearchConfig | LanguageSearchConfig, options: _flags.Options, given: set[str]) -> None:
  """Runs or resumes a search, and prints and draws what it found."""
  for path in given:
    component = path.partition(".")[0]
    if component in HYPERGRADIENTS and component != config.hypergradient:
      mend = f"it does nothing with --hypergradient={config.hypergradient}, so leave it out, or choose --hypergradient={component}"
      raise FieldError(path, getattr(getattr(config, component), path.partition(".")[2]), mend)
  _flags.require_workdir(options)
  _run.use_compilation_cache(options.compilation_cache)
  parts = (_language if isinstance(config, LanguageSearchConfig) else _image).search_parts(config)
  task = darts.DartsTask(config.darts, parts.workload, config.make_hypergradient(), jax.random.key(config.seed))
  with _run.open_folder(options, "search", config_lib.flatten(config), parts) as folder:
    position = _run.run(task, folder, options)
    result = darts.result_of(position.history, task.space)
    folder.write_genotype(result.genotype.to_json())
    folder.write_result({"genotype": result.genotype.to_json(), "seconds": result.cost, **result.metrics})
    save_pictures(folder.path, task.space)
    print(f"\nfound: {result.genotype}")
    print(f"pictures: {folder.path / 'pictures'}")
    retraining = f"{options.preset}_retrain"
    recipe = f"--preset={retraining}" if retraining in _flags.preset_names() else f"--space={config.space}"
    print(f"retrain it: python -m experiments.train {recipe} --genotype={options.workdir} --workdir=FOLDER")


LAUNCHER = _flags.Launcher("search", ImageSearchConfig(), run, __doc__, {"darts_recurrent": LanguageSearchConfig()})
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
