"""Writes the network of a finished training in formats that need no dnas.

  dnas export --run=runs/first_retrained
  dnas export --run=runs/first_retrained --format=jax --workdir=exported

The formats are safetensors, a checkpoint of Orbax, and an artifact of jax.export that runs with JAX alone. They go to the folder `export`
in that of the training, or to --workdir, with a README.md that says how each is loaded.
"""

import dataclasses

from dnas.core import config as config_lib
from dnas.core.config import check_name, check_types
from dnas.core.paths import expanded
from dnas.launchers import _flags, _trained
from dnas.train import export

ALL = "all"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
  """The settings of an export.

  Attributes:
    run: folder of a finished training.
    format: the format, or all of them.
  """

  run: str = ""
  format: str = config_lib.named(ALL, lambda: [*export.FORMATS, ALL])

  def __post_init__(self):
    check_types(self)
    check_name("format", self.format, [*export.FORMATS, ALL])


def run(config: ExportConfig, options: _flags.Options, given: set[str]) -> None:
  """Writes the network, and prints where it is."""
  trained = _trained.load_flag(config.run)
  folder = expanded("--workdir", options.workdir) if options.workdir else trained.folder / "export"
  export.write(trained.model, folder, tuple(export.FORMATS) if config.format == ALL else (config.format,))
  files = [path for path in folder.rglob("*") if path.is_file()]
  print(f"exported: {folder}, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
  print(f"how to load it: {folder / 'README.md'}")


LAUNCHER = _flags.Launcher("export", ExportConfig(), run, __doc__, option_names=("workdir", "imports"))
main = LAUNCHER.main
