"""dnas open, dnas runs and dnas report on single runs; the page at the end of a run; the command on it that repeats the run."""

import json
import pathlib
import re
import shlex
import shutil
from html import unescape

import pytest
from tiny_runs import SEARCH, TRAIN, cache_flag, contents, launch

from dnas import __main__ as script
from dnas.core import config as config_lib
from dnas.launchers import _pages, _repeat, compare, open, report, runs, search, train, tune
from dnas.report.pages import html
from dnas.run.run_folder import RunFolder

EARLIER = pathlib.Path(__file__).with_name("earlier_versions") / "0.1.0"


@pytest.fixture(autouse=True)
def no_browser(monkeypatch):
  for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "searched"
  assert launch("search", *SEARCH, f"--workdir={folder}") == 0
  return folder


def commands_of(folder):
  return [unescape(found) for found in re.findall("<code>(.*?)</code>", (folder / "report.html").read_text())]


def test_a_search_ends_with_its_page(searched):
  result = json.loads((searched / "result.json").read_text())
  assert result["retraining"] == {"space": "darts_conv", "data.dataset": "synthetic", "network.auxiliary": False}
  text = (searched / "report.html").read_text()
  assert all(f"{warning[0].upper()}{warning[1:]}" in unescape(text) for warning in result["warnings"])
  notation, retraining, again = commands_of(searched)[:3]
  assert notation == result["notation"] and f"--genotype={searched}" in retraining and retraining.startswith("dnas train ")
  words = again.removeprefix("dnas search ").split()
  config, options, _ = search.LAUNCHER.parse(["search", *words])
  assert options.workdir == f"{searched}_again"
  assert json.loads(json.dumps(config.recorded())) == json.loads((searched / "config.json").read_text())["config"]


def test_the_same_command_again_leaves_the_page(searched):
  before = contents(searched)
  assert launch("search", *SEARCH, f"--workdir={searched}") == 0
  assert contents(searched) == before


def test_open_prints_the_path_and_makes_the_page_anew(searched, capsys):
  (searched / "report.html").write_text("old")
  assert script.main(["dnas", "open", str(searched)]) == 0
  assert capsys.readouterr().out == f"{searched / 'report.html'}\n" and "<!doctype html>" in (searched / "report.html").read_text()
  assert open.main(["open", f"--run={searched}"]) == 0


def test_open_opens_a_browser_where_there_is_a_display(searched, monkeypatch):
  opened = []
  monkeypatch.setattr("webbrowser.open", opened.append)
  monkeypatch.setenv("DISPLAY", ":0")
  assert open.main(["open", str(searched)]) == 0
  assert open.main(["open", str(searched), "--nobrowser"]) == 0
  assert opened == [(searched / "report.html").as_uri()]


@pytest.mark.parametrize(
  "words, told",
  [
    ([], "--run is empty"),
    (["nowhere"], "nowhere holds no run; give the folder of a search"),
    (["a", "b"], "'a' is not a flag"),
    (["a", "--run=b"], "'a' is not a flag"),
  ],
)
def test_what_cannot_be_opened_is_refused_in_a_sentence(words, told, capsys):
  assert open.main(["open", *words]) == 2
  out, err = capsys.readouterr()
  assert out == "" and told in err and err.count("\n") == 1


def test_a_folder_of_another_kind_of_run_has_no_page(tmp_path, capsys):
  with RunFolder.open(tmp_path / "run", "network_trials", {}):
    pass
  assert open.main(["open", str(tmp_path / "run")]) == 2
  assert "'network_trials', which has no page" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "text_search", "compare"])
def test_folders_of_earlier_versions_have_pages(name, tmp_path, capsys):
  folder = shutil.copytree(EARLIER / name, tmp_path / name)
  assert open.main(["open", str(folder)]) == 0
  text = (folder / "report.html").read_text()
  assert "0.1.0" in text and (name == "train" or 'data-explorer="0"' in text or "Best practices" in text)
  if name == "text_search":
    assert report.main(["report", f"--workdir={folder}"]) == 0
    assert f"page: {folder / 'report.html'}" in capsys.readouterr().out


def test_a_page_that_cannot_be_made_loses_no_result(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(html, "render", lambda page: 1 / 0)
  assert launch("train", *TRAIN, "--genotype=DARTS_V2", f"--workdir={tmp_path / 'run'}") == 0
  out = capsys.readouterr().out
  assert "warning: the page is not made (division by zero); the results are whole, and the same command again makes it" in out
  assert "test error" in out and (tmp_path / "run" / "result.json").exists() and not (tmp_path / "run" / "report.html").exists()


FLAGS = {
  "search": (search, ["--preset=digits_bench", "--darts.epochs=3", "--darts.arch_warmup_epochs=1"]),
  "text": (search, ["--preset=text_demo", "--data.tokens=400", "--seed=7"]),
  "train": (train, ["--preset=digits_bench_retrain", "--genotype=random:1"]),
  "model": (train, ["--model=resnet", "--resnet.depth=8", "--data.dataset=digits", "--train.milestones=3,9", "--train.schedule=constant"]),
  "tune": (tune, ["--preset=tune_digits_resnet", "--study.trials=3"]),
}


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "built"])
@pytest.mark.parametrize("name", FLAGS)
def test_the_command_on_a_page_gives_the_recorded_configuration(name, typed, tmp_path):
  module, flags = FLAGS[name]
  launcher = module.LAUNCHER
  config, _, _ = launcher.parse([launcher.name, *flags])
  recorded = _repeat.as_recorded(config_lib.flatten(config) if module is tune else config.recorded())
  command = ["/bin/dnas", launcher.name, "--workdir", "old", "--force", *flags] if typed else ["/bin/notebook"]
  folder = tmp_path / "it's"
  header = {"launcher": launcher.name, "config": recorded, "command": command}
  made = _pages._repeated({launcher.name: launcher}, folder, header, config_lib.flatten if module is tune else lambda one: one.recorded())
  words = shlex.split(made)
  assert words[:2] == ["dnas", launcher.name] and words[-1] == f"--workdir={folder}_again" and (words[2:-1] == flags) == typed
  again, _, _ = launcher.parse([launcher.name, *words[2:]])
  assert again == config


def test_a_configuration_that_no_flags_give_has_no_command(tmp_path):
  config, _, _ = train.LAUNCHER.parse(["train"])
  recorded = {**config.recorded(), "train.impetus": 0.5}  # a field that is gone
  header = {"launcher": "train", "config": recorded, "command": ["dnas", "train"]}
  assert _pages._repeated({"train": train.LAUNCHER}, tmp_path, header, lambda one: one.recorded()) == ""


def test_a_comparison_ends_with_its_page_and_repeats_from_a_script(tmp_path, capsys):
  root, flags = tmp_path / "compared", ["--methods=random_search,regularized_evolution", "--seconds=400", "--seeds=2", "--pool.workers=1"]
  flags.append("--regularized_evolution.population=7")
  assert compare.main(["compare", cache_flag(), f"--workdir={root}", *flags]) == 0
  assert f"page: {root / 'report.html'}" in capsys.readouterr().out and "Best practices" in (root / "report.html").read_text()
  (again, *_) = [one for one in commands_of(root) if one.startswith("dnas compare ")]  # this process is no dnas
  config, options, _ = compare.LAUNCHER.parse(again.removeprefix("dnas ").split())
  assert options.workdir == f"{root}_again" and (config.seeds, config.method_names) == (2, ("random_search", "regularized_evolution"))
  cell = root / "nasbench201/tabular/regularized_evolution/seed_0001"
  assert _repeat.as_recorded(config.of_cell("regularized_evolution", 1)) == json.loads((cell / "config.json").read_text())["config"]
  assert runs.main(["runs", str(tmp_path)]) == 0
  assert re.search(r"^compared +comparison +finished +4 runs +best mean test accuracy [\d.]+ %: ", capsys.readouterr().out, re.MULTILINE)


def test_runs_are_listed_with_their_state(searched, capsys):
  assert script.main(["dnas", "runs", str(searched.parent)]) == 0
  header, line = capsys.readouterr().out.splitlines()
  assert header.split() == ["folder", "kind", "state", "progress", "result"]
  assert re.fullmatch(r"searched +search +finished +2 epochs +validation accuracy [\d.]+ %", line)


def test_a_folder_without_runs_is_said_so_and_no_folder_is_refused(tmp_path, capsys):
  assert runs.main(["runs", str(tmp_path)]) == 0
  assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
  assert runs.main(["runs", str(tmp_path / "nowhere")]) == 2
  assert "is no folder; give one with runs in it" in capsys.readouterr().err
