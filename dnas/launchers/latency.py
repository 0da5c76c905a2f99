"""Measures the latency of every operation of a search on this device, or prints such a table.

  dnas latency --make --space=nasbench201 --workdir=runs/latency
  dnas latency --make --search=digits_bench_gaea --image_shape=8,8,1 --workdir=runs/latency
  dnas latency --table=runs/latency/latency.json
  dnas search --cost.of=latency --cost.target=2.5 --cost.table=runs/latency/latency.json --space=nasbench201 --workdir=runs/quick

--make writes WORKDIR/latency.json: the milliseconds per batch of every operation at every width, stride and size of image at which the
operation stands in the networks of a supernet, and of the rest of the network. The same command goes on after a kill. Another supernet adds
its rows to the same table. Measure on a machine without other work.
"""

import dataclasses
import pathlib

from dnas.cells.registries import SPACES, STACKS
from dnas.core import durable
from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.errors import FieldError, InputError
from dnas.core.paths import expanded
from dnas.launchers import _flags, _presets, _run
from dnas.launchers.configs import NASBENCH201_SEARCH, ImageSearchConfig
from dnas.report.tables import Table as Printed
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.supernet.latencies import Table, about, measured
from dnas.supernet.latencies import named as row_named
from dnas.supernet.operation_costs import Skeleton

FILE = "latency.json"


@dataclasses.dataclass(frozen=True)
class LatencyConfig:
  """What is measured, or printed.

  Attributes:
    make: whether the operations are measured.
    table: file of a table to print.
    search: preset of a search whose space and supernet are measured; empty for those of the flags.
    space: name of the search space.
    image_shape: rows, columns and channels of the images.
    classes: number of classes.
    batch_size: number of images in a batch.
    repeats: number of timed calls of every operation; a row has their median and quartiles.
  """

  make: bool = False
  table: str = ""
  search: str = ""
  space: str = named("darts_conv", lambda: STACKS)
  image_shape: tuple[int, ...] = (32, 32, 3)
  classes: int = 10
  batch_size: int = 1
  repeats: int = 30
  supernet: SupernetConfig = dataclasses.field(default_factory=SupernetConfig)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    if path == "supernet.rematerialize":
      return "no gradient is measured, so leave it out"
    named_by_preset = bool(self.search) and (path == "space" or path.startswith("supernet."))
    return f"the preset {self.search} of --search has its own, so leave it out" if named_by_preset else ""

  def __post_init__(self):
    check_types(self)
    check_name("space", self.space, STACKS)
    check_positive(classes=self.classes, batch_size=self.batch_size, repeats=self.repeats)
    check_at_most(10**6, classes=self.classes, batch_size=self.batch_size, repeats=self.repeats)
    fits = len(self.image_shape) == 3 and all(0 < size <= 10**4 for size in self.image_shape)
    check(fits, "image_shape", ",".join(map(str, self.image_shape)), "give rows, columns and channels, such as 32,32,3")


def run(config: LatencyConfig, options: _flags.Options, given: set[str]) -> None:
  """Measures the operations that the table lacks, or prints a table."""
  _flags.refuse_idle(config, given)
  check(config.make != bool(config.table), "make", str(config.make).lower(), "give one of --make and --table=FILE")
  if config.table:
    unused = sorted(given - {"make", "table"})
    check(not unused, unused[0] if unused else "", "given", "--table prints a table, so leave it out")
    print(printed(_read("table", config.table, expanded("--table", config.table))))
    return
  _flags.require_workdir(options)
  _run.prepare(options)
  print(f"table: {make(config, expanded('--workdir', options.workdir))}")


def make(config: LatencyConfig, folder: pathlib.Path) -> pathlib.Path:
  """Measures every operation that the folder's table lacks, row by row, and returns the file of the table.

  Raises:
    InputError: if the space, the supernet or the preset cannot be measured, or the folder has a table of another device.
  """
  space, size = SPACES[config.space], config.supernet
  if config.search:
    search = _presets.load(config.search, "search")
    of_images = isinstance(search, ImageSearchConfig)
    check(of_images, "search", config.search, "a latency is of operations on images, so give a search on images")
    space, size = search.searched_space(), search.supernet
  skeleton = Skeleton.of(space, size, (config.image_shape[0], config.image_shape[1], config.image_shape[2]), config.classes)
  durable.make_folder(folder)
  path, table = folder / FILE, Table(about(config.batch_size, config.repeats), {})
  if path.exists():
    before = _read("workdir", str(folder), path)
    for name, value in table.about.items():
      if name != "date" and before.about.get(name) != value:
        hint = f"its table has the {name} {before.about.get(name)} and this one would have {value}; give another folder"
        raise FieldError("workdir", str(folder), hint)
    table = before
  for row in measured(skeleton, size, config.batch_size, config.repeats, table):
    table = table.with_row(row)
    table.write(path)
    print(f"{row.milliseconds:9.4f} ms  {row_named(row.operation, row.place)}", flush=True)
  return path


def printed(table: Table) -> str:
  """Returns a table as text: what it is of, and a line for every measurement."""
  rows = []
  for row in table.rows.values():
    low, high = row.quartiles
    rows.append((row.operation or "(skeleton)", *map(str, row.place), f"{row.milliseconds:.4f}", f"{low:.4f} to {high:.4f}"))
  header = "operation", "channels in", "channels", "stride or cells", "height", "width", "ms", "quartiles"
  of = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table.about.items())
  return Printed(f"Latencies: {of}", header, tuple(rows)).to_markdown()


def _read(field: str, value: str, path: pathlib.Path) -> Table:
  try:
    return Table.read(path)
  except InputError as e:
    raise FieldError(field, value, str(e).removesuffix(".")) from None


BY_SPACE = {"nasbench201": LatencyConfig(space="nasbench201", supernet=NASBENCH201_SEARCH.supernet)}
_OPTIONS = ("workdir", "imports", "compilation_cache", "compilation_cache_gb", "deterministic")
LAUNCHER = _flags.Launcher("latency", LatencyConfig(), run, __doc__, BY_SPACE, option_names=_OPTIONS)
main = LAUNCHER.main
