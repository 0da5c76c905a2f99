"""Searches for an architecture.

  python -m experiments.search --preset=digits_demo --workdir=runs/first

The run's folder then holds the genotype of every epoch, the final one (genotype.json), metrics, checkpoints and pictures. The same
command again resumes a run that was stopped or killed. `experiments.train --genotype=runs/first` retrains what was found.
"""

import dataclasses
import sys

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core.errors import FieldError
from dnas.data import base, datasets
from dnas.report.plots import save_pictures
from dnas.search import darts
from dnas.supernet import hypergradients, image_supernet
from experiments import _flags, _run


@dataclasses.dataclass(frozen=True)
class Config:
  """A differentiable search.

  Attributes:
    space: name of the search space, darts_conv or nasnet.
    hypergradient: estimator of the hypergradient: first_order, finite_difference, unrolled, implicit_cg or implicit_neumann.
    seed: of initial weights and architecture, order of the data, and augmentation.
  """

  space: str = "darts_conv"
  hypergradient: str = "first_order"
  seed: int = 2
  data: base.Config = dataclasses.field(default_factory=base.Config)
  supernet: image_supernet.Config = dataclasses.field(default_factory=image_supernet.Config)
  darts: darts.Config = dataclasses.field(default_factory=darts.Config)
  finite_difference: hypergradients.FiniteDifference = dataclasses.field(default_factory=hypergradients.FiniteDifference)
  unrolled: hypergradients.Unrolled = dataclasses.field(default_factory=hypergradients.Unrolled)
  implicit_cg: hypergradients.ImplicitConjugateGradient = dataclasses.field(default_factory=hypergradients.ImplicitConjugateGradient)
  implicit_neumann: hypergradients.ImplicitNeumann = dataclasses.field(default_factory=hypergradients.ImplicitNeumann)

  def __post_init__(self):
    config_lib.check_not_negative(seed=self.seed)
    for field, registry in (("space", SPACES), ("hypergradient", hypergradients.HYPERGRADIENTS)):
      registry[getattr(self, field)]  # raises InputError with the nearest name

  def make_hypergradient(self) -> hypergradients.Hypergradient:
    """Returns the chosen estimator with its settings."""
    settings = getattr(self, self.hypergradient, None)
    return settings if settings is not None else hypergradients.HYPERGRADIENTS[self.hypergradient]()


def make_task(config: Config) -> darts.DartsTask:
  """Builds the task of a configuration. Raises InputError for values that do not fit the data."""
  dataset = datasets.load(config.data.dataset, config.data.data_dir)
  return darts.DartsTask(
    config.darts, config.supernet, config.data, config.make_hypergradient(), SPACES[config.space], dataset, config.seed
  )


def run(config: Config, options: _flags.Options, given: set[str]) -> None:
  """Runs or resumes a search, and prints and draws what it found."""
  for path in given:
    component = path.partition(".")[0]
    if component in hypergradients.HYPERGRADIENTS and component != config.hypergradient:
      mend = f"it does nothing with --hypergradient={config.hypergradient}, so leave it out, or choose --hypergradient={component}"
      raise FieldError(path, getattr(getattr(config, component), path.partition(".")[2]), mend)
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


LAUNCHER = _flags.Launcher("search", Config(), run, __doc__)
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
