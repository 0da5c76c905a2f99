"""The pages of docs/how_to/own_units: the file that each of them shows, and its commands."""

import pathlib
import re
import shlex

import dnas

PAGES = pathlib.Path(dnas.__file__).parents[1] / "docs" / "how_to" / "own_units"
KINDS = tuple(path.stem for path in sorted(PAGES.glob("*.md")) if path.stem != "index")


def file_of(kind: str, folder: pathlib.Path) -> pathlib.Path:
  """Writes the file of a page to a folder."""
  (text,) = re.findall(r'```python\n(""".*?)```', (PAGES / f"{kind}.md").read_text(), re.DOTALL)
  path = folder / f"{kind}.py"
  assert text.startswith(f'"""{kind}.py: ')
  path.write_text(text)
  return path


def commands_of(kind: str) -> list[list[str]]:
  """Returns the words of each command of a page, without `dnas`."""
  (text,) = re.findall(r"```\n(dnas .*?)```", (PAGES / f"{kind}.md").read_text(), re.DOTALL)
  return [shlex.split(line)[1:] for line in text.splitlines()]
