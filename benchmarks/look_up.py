"""Prints what searches in the space of NAS-Bench-201 have found, and its accuracy by the table of the benchmark.

  python -m benchmarks.look_up FOLDER [TABLE]

FOLDER holds a folder for every method, as step 6 of benchmarks/accelerator.sh writes them. TABLE is the npz that docs/results/evaluators.md
describes. Without it the architectures alone are printed. The test accuracies are those after 200 epochs on CIFAR-10.
"""

import pathlib
import sys

from dnas.cells.registries import SPACES
from dnas.core.errors import InputError
from dnas.evaluate import nasbench201_formats
from dnas.evaluate.tabular import report_test
from dnas.report.tables import Table


def main(argv: list[str]) -> int:
  """Prints the table, and returns the exit status."""
  if len(argv) not in (2, 3) or argv[1].startswith("-"):
    print(__doc__)
    return 2
  root, space, lines = pathlib.Path(argv[1]), SPACES["nasbench201"], []
  try:
    table = nasbench201_formats.read_npz(argv[2], "cifar10") if len(argv) == 3 else None
    for path in sorted(root.rglob("genotype.json")):
      genotype = space.parse(path.read_text(encoding="utf-8"), str(path))
      accuracy = () if table is None else (f"{report_test(table, genotype):.2f}",)
      lines.append((path.parent.relative_to(root).as_posix(), space.notation(genotype), *accuracy))
  except InputError as e:
    print(f"error: {e}", file=sys.stderr)
    return 2
  header = "search", "architecture", *(() if table is None else ("test accuracy (%)",))
  print(f"\n{Table('found by the searches so far', header, tuple(lines)).to_markdown()}", flush=True)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
