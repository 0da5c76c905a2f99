"""Tuning spaces, samplers, pruners, storages and executors, fuzzed; see `fuzz_units`."""

import json
import math
import re
import urllib.parse

import hypothesis
import optuna
import pytest
import sqlalchemy
from fuzz_units import REFUSED, fuzzed, outcome
from fuzzing import NUMBERS, STRANGE, TEXTS, check_settings, settings_of
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.launchers.configs import ImageTrainConfig
from dnas.tune import executors, space, storage, study

CONFIG = ImageTrainConfig()
FIELDS = {path: kind for path, kind, _ in config_lib.fields(CONFIG)}


# Spaces.

_WORDS = {bool: ["true", "False"], int: ["2", "4", "8", "16"], float: ["0.5", "0.25", "0.250", "1e-2", "1"]}
_NAMES = {"train.schedule": ["cosine", "linear"], "network.precision": ["float32", "'bfloat16'"], "data.split": ["shuffled", "stratified"]}
_ODD_WORDS = st.one_of(st.sampled_from(("1e308", "-1e308", "5e-324", "nan", "inf", "1_0", "٣", "0", "-1", *STRANGE)), st.text(max_size=6))
_RANGES = {
  "uniform": st.tuples(st.floats(0, 0.5), st.floats(0.5, 0.9)),
  "log": st.tuples(st.floats(1e-6, 0.5), st.floats(0.5, 0.9)),
  "int": st.tuples(st.integers(0, 8), st.integers(8, 64))
  | st.tuples(st.sampled_from((0, 4)), st.sampled_from((8, 16)), st.sampled_from((1, 2, 4, 3))),
  "logint": st.tuples(st.integers(1, 8), st.integers(8, 64)),
}


@st.composite
def spaces(draw):
  """Returns the text of a space; most of its entries are good."""
  entries, choices = [], []
  fitting = [path for path, kind in FIELDS.items() if kind in _WORDS or path in _NAMES]
  for path in draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=4, unique=True)):
    ranges = {float: ("uniform", "log"), int: ("int", "logint")}.get(FIELDS[path], ())
    kind = draw(st.sampled_from((*ranges, "choice")))
    words = _NAMES.get(path) or _WORDS[FIELDS[path]]
    arguments = draw(st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True) if kind == "choice" else _RANGES[kind])
    arguments = list(map(str, arguments))
    if draw(st.integers(0, 19)) == 19:
      arguments = draw(st.lists(_ODD_WORDS, max_size=4))
    condition = ""
    if choices and draw(st.booleans()):
      on, given = draw(st.sampled_from(choices))
      condition = f" if {on} in ({', '.join(draw(st.lists(st.sampled_from(given), min_size=1, max_size=2)))})"
    if kind == "choice" and arguments:
      choices.append((path, arguments))
    entries.append(f"{path} = {kind}({', '.join(arguments)}){condition}")
  return "; ".join(entries)


@fuzzed(250, text=spaces(), seed=st.integers(0, 2**32 - 1), architecture=st.sampled_from((None, *SPACES)))
def test_what_a_space_asks_for_is_in_it(text, seed, architecture):
  parsed = outcome(space.parse, text, CONFIG, architecture and SPACES[architecture])
  if parsed is REFUSED:
    if " if " in text:  # a condition names words of its choice, so the fault is elsewhere
      assert outcome(space.parse, re.sub(r" if [^;]*", "", text), CONFIG) is REFUSED
    return
  json.dumps(parsed.to_json(), allow_nan=False)
  tried = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
  trial = tried.ask()
  point = parsed.suggest(trial)
  distributions = {parameter.path: parameter for parameter in parsed.parameters}
  assert list(point.values) == [path for path in distributions if path in point.values]
  for path, (_, distribution, condition) in distributions.items():
    if path not in point.values:
      assert condition is not None and point.values.get(condition[0]) not in condition[1]
      continue
    value = point.values[path]
    assert type(value) is FIELDS[path] or (FIELDS[path] is float and type(value) is int)
    if isinstance(distribution, CategoricalDistribution):
      assert value in distribution.choices
    else:
      assert math.isfinite(value) and distribution.low <= value <= distribution.high
  changed = outcome(space.apply, CONFIG, point)
  assert changed is not REFUSED or len(point.values) > 1  # only what two fields say together may not fit
  if changed is not REFUSED:
    genotype = architecture and SPACES[architecture].decode(point.decisions)
    again = parsed.parameters_of(changed, genotype)
    assert again is not None and {path: again[path] for path in point.values} == point.values
    assert not architecture or [again[name] for name in space.decision_names(parsed.architecture)] == list(point.decisions)
    assert outcome(tried.enqueue_trial, trial.params) is None and parsed.suggest(tried.ask()) == point


@fuzzed(250, text=st.one_of(TEXTS, st.text("train.epochs=intlogcheif(), 019;-\n\0é", max_size=60)))
def test_any_text_of_a_space(text):
  outcome(space.parse, text, CONFIG)


@fuzzed(100, text=spaces(), place=st.integers(0, 200), change=st.text(max_size=2))
def test_a_space_with_a_slip_of_the_pen(text, place, change):
  outcome(space.parse, text[:place] + change + text[place + 1 :], CONFIG)


# Studies.


@fuzzed(200, values=settings_of(study.Config))
def test_settings_of_a_study(values):
  config = check_settings(study.Config, values)
  if config is not REFUSED:
    assert len(config.directions) == len(config.objective_names) >= 1 and set(config.directions) <= {"minimize", "maximize"}


@fuzzed(100, objectives=st.lists(st.one_of(st.sampled_from(list(study.DIRECTIONS)), TEXTS), max_size=4).map(",".join))
def test_objectives(objectives):
  config = check_settings(study.Config, {"objectives": objectives})
  if config is not REFUSED:
    assert set(config.objective_names) <= set(study.DIRECTIONS) and len(set(config.objective_names)) == objectives.count(",") + 1


TUNED = """train.learning_rate = log(0.01, 0.3); data.cutout_length = int(0, 16, 4); train.schedule = choice(cosine, linear);
  train.epochs = logint(1, 100000); train.weight_decay = uniform(0, 1e30) if train.schedule in (linear)"""


@pytest.mark.parametrize("name", list(study.SAMPLERS))
def test_every_sampler(name):
  parsed = space.parse(TUNED, CONFIG)
  study.quiet()

  @fuzzed(5, values=st.lists(st.floats(), min_size=3, max_size=9), startup=st.integers(1, 3), seed=st.integers(0, 2**63 - 1))
  def ask(values, startup, seed):
    config = check_settings(study.Config, {"sampler": name, "startup": startup, "population": 2, "seed": seed})
    if config is REFUSED:
      return  # its package is missing

    def points():
      tried = optuna.create_study(directions=config.directions, pruner=config.make_pruner())
      out = []
      for number, value in enumerate(values):
        study.with_sampler(tried, config, number)
        trial = tried.ask()
        out.append(parsed.suggest(trial).values)
        tried.tell(trial, None if math.isnan(value) else value, state=TrialState.FAIL if math.isnan(value) else TrialState.COMPLETE)
      return out

    asked = points()
    assert asked == points()
    for point in asked:
      assert 0.01 <= point["train.learning_rate"] <= 0.3 and point["data.cutout_length"] in range(0, 17, 4)
      assert point["train.schedule"] in ("cosine", "linear") and 1 <= point["train.epochs"] <= 10**5
      assert ("train.weight_decay" in point) == (point["train.schedule"] == "linear")

  ask()


REPORTS = st.lists(st.lists(st.floats(0, 1), max_size=9), min_size=1, max_size=6)


@pytest.mark.parametrize("name", list(study.PRUNERS))
def test_every_pruner(name):
  study.quiet()

  @fuzzed(15, reports=REPORTS, values=settings_of(study.Config))
  def prune(reports, values):
    config = check_settings(study.Config, {key: values[key] for key in ("min_epochs", "eta") if key in values} | {"pruner": name})
    hypothesis.assume(config is not REFUSED)
    tried = optuna.create_study(direction="maximize", pruner=config.make_pruner())
    for report in reports:
      trial = tried.ask()
      for epoch, value in enumerate(report, start=1):
        trial.report(value, epoch)
        ended = trial.should_prune()
        assert not ended or (name != "none" and epoch >= config.min_epochs)
        if ended:
          trial.set_user_attr("pruned_at", epoch)
          break
      tried.tell(trial, state=TrialState.PRUNED if "pruned_at" in trial.user_attrs else TrialState.FAIL)
    promoted = study.promotable(tried, config.eta)
    if promoted is not None:
      step, trials = promoted.last_step, tried.get_trials()
      rung = [trial.intermediate_values[step] for trial in trials if step in trial.intermediate_values]
      better = sum(value > promoted.intermediate_values[step] for value in rung)
      assert promoted.state is TrialState.PRUNED and better < len(rung) // config.eta

  prune()


# Storages.

FILE_NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1, max_size=20)


@fuzzed(
  60,
  name=st.one_of(
    FILE_NAMES, st.sampled_from((":memory:", "a?b", "a#b", "a%20b", "a%b", "é 😀", "a&b=c", "file:a", "{x}", "~", "a\nb", "..x"))
  ),
)
def test_the_address_of_a_file_is_of_that_file(name, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "storages" / name
  path.parent.mkdir(exist_ok=True)
  hypothesis.assume(name not in (".", "..") and len(name.encode()) < 200)
  path.unlink(missing_ok=True)
  engine = sqlalchemy.create_engine(storage.file_url(path), poolclass=sqlalchemy.NullPool)
  with engine.connect() as connection:
    connection.execute(sqlalchemy.text("create table t (x)"))
  engine.dispose()
  assert [each.name for each in path.parent.iterdir()] == [name]
  path.unlink()


URLS = st.one_of(
  TEXTS,
  st.builds(
    "{}{}{}".format,
    st.sampled_from(
      ("sqlite:///", "sqlite://", "sqlite+pysqlite:///", "sqlite:", "journal:///", "journal:", "nothing://", "mysql://", "postgresql+no://")
    ),
    TEXTS,
    st.sampled_from(("", "?uri=true", "?timeout=x", "?a=b&a=c", "#x", "/")),
  ),
  st.sampled_from(
    (
      "sqlite:///file:x.db?uri=true&mode=ro",
      "sqlite:///:memory:",
      "://",
      "sqlite:///file:x?mode=memory&uri=true",
      "sqlite:////nowhere/x",
      "sqlite:////proc/x",
    )
  ),
)


@fuzzed(
  30, url=URLS, user=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=9), password=st.text("abc@:/?#%é", min_size=1)
)
def test_any_address(url, user, password, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  opened = outcome(storage.open_storage, url, 0.0)
  if opened is not REFUSED:
    assert opened.get_all_studies() == []
    for path in tmp_path.rglob("*"):
      path.is_dir() or path.unlink()
  quoted, hidden = (urllib.parse.quote(part, safe="") for part in (user, password))
  shown = sqlalchemy.make_url(outcome(storage.shown_url, f"postgresql+psycopg://{quoted}:{hidden}@127.0.0.1:1/d"))
  assert (shown.username, shown.password, shown.host) == (user, "***", "127.0.0.1")


# Executors.


@fuzzed(200, values=settings_of(executors.Config))
def test_settings_of_a_pool(values):
  check_settings(executors.Config, values)


VISIBLE = st.one_of(st.none(), st.sampled_from(("", "0", "0,1", "3,1,2,0", "-1", "0,-1,1", " 0 , 1 ", "GPU-8f2,GPU-3", ",")))


@fuzzed(200, workers=st.integers(1, 9), accelerators=st.one_of(NUMBERS, st.sampled_from((0.25, 0.3, 0.5, 1, 2))), visible=VISIBLE)
def test_every_worker_has_its_accelerators(workers, accelerators, visible, monkeypatch):
  config = check_settings(executors.Config, {"workers": workers, "accelerators": accelerators})
  hypothesis.assume(config is not REFUSED)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  if visible is not None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  given = outcome(executors.environments, workers, config.accelerators)
  if given is REFUSED:
    return
  assert len(given) == workers
  if not accelerators:
    assert given == [{}] * workers
    return
  known = [] if visible is None or visible[:1] in ("", "-", ",") else [device.strip() for device in visible.split(",-1")[0].split(",")]
  shares, memory = {}, {}
  for variables in given:
    devices = variables["CUDA_VISIBLE_DEVICES"].split(",")
    assert len(devices) == max(int(accelerators), 1)
    for device in devices:
      shares[device] = shares.get(device, 0) + min(accelerators, 1)
      memory[device] = memory.get(device, 0) + float(variables.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.9))
      assert float(variables.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.9)) > 0
  assert set(shares) <= set(known) and max(shares.values()) < 1.0001 and max(memory.values()) < 1
