"""The package that an index would get: built, installed beside the present dependencies, and used from another folder."""

import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

import dnas

ROOT = pathlib.Path(dnas.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = ("http://", "https://", "#")


def run(*command: object, cwd: pathlib.Path, **environment: str) -> str:
  free = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run([str(word) for word in command], cwd=cwd, env=free | environment, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A folder with sdist and wheel. The wheel is made of the sdist, which so has all that is needed."""
  place = tmp_path_factory.mktemp("package")
  left_out = shutil.ignore_patterns(".git", ".venv*", "runs", "build", "dist", "__pycache__", "*.egg-info")
  shutil.copytree(ROOT, place / "tree", ignore=left_out)
  run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", place / "tree", cwd=place)
  return place / "dist"


@pytest.fixture(scope="module")
def installed(built: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A folder with the installed wheel alone."""
  target = tmp_path_factory.mktemp("installed")
  (wheel,) = built.glob("*.whl")
  run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=built)
  return target


def test_the_installed_package_runs_in_another_folder(installed: pathlib.Path, tmp_path: pathlib.Path):
  paths = {"PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
  assert run(installed / "bin" / "dnas", "--version", cwd=tmp_path, **paths) == f"dnas {dnas.__version__}\n"
  code = "import dnas; from dnas.data import datasets; from dnas.evaluate import digits_bench as b; "
  code += "print(dnas.__file__, len(b.load(0).valid(1)), len(datasets.load('digits', '').train), dnas.load_preset('digits_demo').space)"
  file, *numbers = run(sys.executable, "-c", code, cwd=tmp_path, **paths).split()
  assert pathlib.Path(file).is_relative_to(installed) and numbers == ["729", "1500", "darts_conv"]
  assert list(tmp_path.iterdir()) == []


def test_the_wheel_holds_the_package_and_its_data_alone(built: pathlib.Path):
  (wheel,) = built.glob("*.whl")
  names = zipfile.ZipFile(wheel).namelist()
  kinds = (".py", ".pyi", ".npz", ".css", ".html", ".js")
  ours = {str(path.relative_to(ROOT)) for path in (ROOT / "dnas").rglob("*") if path.suffix in kinds or path.name == "py.typed"}
  assert {name for name in names if name.startswith("dnas/")} == ours
  assert {name.partition("/")[0] for name in names} == {"dnas", f"dnas-{dnas.__version__}.dist-info"}
  assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_metadata_say_what_an_index_shows(built: pathlib.Path):
  (wheel,) = built.glob("*.whl")
  archive = zipfile.ZipFile(wheel)
  told = email.message_from_bytes(archive.read(f"dnas-{dnas.__version__}.dist-info/METADATA"))
  assert (told["Version"], told["License-Expression"], told["Author"]) == (dnas.__version__, "Apache-2.0", "the dnas maintainers")
  assert told["Description-Content-Type"] == "text/markdown" and not told.get_all("Project-URL")  # there is no address yet
  assert set(told.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
  text = told.get_payload()
  links = re.findall(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"", text)
  assert "dnas demo" in text and all("".join(link).startswith(ADDRESS) for link in links), links
  for extra in re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE):
    assert set(re.findall(r"`(\w+)`", extra)) <= set(PROJECT["optional-dependencies"])


def test_the_sdist_holds_what_a_checkout_needs(built: pathlib.Path):
  (sdist,) = built.glob("*.tar.gz")
  names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
  files = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "requirements.txt", "tests/conftest.py")
  assert {*files, "constraints/lowest.txt", "docs/architecture.md", "experiments/search.py"} <= names
  assert not [name for name in names if "__pycache__" in name or name.startswith("runs/")]


def test_citation_and_licence_are_those_of_the_package():
  citation = (ROOT / "CITATION.cff").read_text()
  assert f"\nversion: {dnas.__version__}\n" in citation and f"\nlicense: {PROJECT['license']}\n" in citation
  assert PROJECT["authors"][0]["name"] in citation
  assert "Apache License" in (ROOT / "LICENSE").read_text() and f"## {dnas.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned_for_every_python():
  def name(line: str) -> str:
    return re.split(r"[\[><=; ]", line, maxsplit=1)[0].lower().replace("_", "-")

  direct = {name(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]}
  for path in (ROOT / "constraints").glob("*.txt"):
    pinned = {name(line) for line in path.read_text().splitlines() if not line.startswith("#")}
    assert direct <= pinned, (path.name, direct - pinned)
  assert {"jax", "flax", "optax", "chex", "absl-py"} <= {name(line) for line in PROJECT["dependencies"]}
  extras = re.search(r"^-e \.\[(.*)\]$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
  assert extras and {"tfds", "stream", "tune"} <= set(extras[1].split(","))
