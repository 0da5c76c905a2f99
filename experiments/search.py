"""Searches for an architecture.

  python -m experiments.search --preset=digits_demo --workdir=runs/first

The run's folder then holds the genotype of every epoch, the final one (genotype.json), metrics, checkpoints and pictures. The same
command again resumes a run that was stopped or killed. `experiments.train --genotype=runs/first` retrains what was found.
"""

import sys

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core.errors import FieldError
from dnas.data import datasets
from dnas.report.plots import save_pictures
from dnas.search import darts
from dnas.supernet.hypergradients import HYPERGRADIENTS
from experiments import _flags, _run
from experiments.configs import SearchConfig


def make_task(config: SearchConfig) -> darts.DartsTask:
  """Builds the task of a configuration. Raises InputError for values that do not fit the data."""
  dataset = datasets.from_config(config.data)
  return darts.DartsTask(
    config.darts, config.supernet, config.data, config.make_hypergradient(), SPACES[config.space], dataset, config.seed
  )


def run(config: SearchConfig, options: _flags.Options, given: set[str]) -> None:
  """Runs or resumes a search, and prints and draws what it found."""
  for path in given:
    component = path.partition(".")[0]
    if component in HYPERGRADIENTS and component != config.hypergradient:
      mend = f"it does nothing with --hypergradient={config.hypergradient}, so leave it out, or choose --hypergradient={component}"
      raise FieldError(path, getattr(getattr(config, component), path.partition(".")[2]), mend)
  _flags.require_workdir(options)
  _run.use_compilation_cache(options.compilation_cache)
  task = make_task(config)
  with _run.open_folder(options, "search", config_lib.flatten(config)) as folder:
    position = _run.run(task, folder, options)
    result = darts.result_of(position.history, task.space)
    folder.write_genotype(result.genotype.to_json())
    folder.write_result({"genotype": result.genotype.to_json(), "seconds": result.cost, **result.metrics})
    save_pictures(folder.path, task.space)
    print(f"\nfound: {result.genotype}")
    print(f"pictures: {folder.path / 'pictures'}")
    print(f"retrain it: python -m experiments.train --genotype={options.workdir} --workdir=FOLDER")


LAUNCHER = _flags.Launcher("search", SearchConfig(), run, __doc__)
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
