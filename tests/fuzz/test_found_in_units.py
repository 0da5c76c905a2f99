"""What fuzzing found in spaces, methods, strategies and flags: each input, with its right value or the sentence that refuses it."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core import keys
from dnas.core.errors import FieldError, InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype, from_lists
from dnas.core.records import Evaluation, Proposal
from dnas.core.registry import Registry
from dnas.core.space import CellSpace
from dnas.evaluate import synthetic_table
from dnas.evaluate.tabular import Tabular
from dnas.launchers import compare, search, tune
from dnas.launchers.configs import ImageSearchConfig
from dnas.search.blackbox import (
  asha,
  bayesian,
  hyperband,
  nao,
  nao_network,
  regularized_evolution,
  reinforce,
  reinforce_lstm,
  simulated_workers,
  study,
)
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.methods import METHODS
from dnas.search.gradient.methods.drnas import Dirichlet
from dnas.search.gradient.methods.gdas import Gdas
from dnas.search.gradient.methods.pc_darts import PCDarts
from dnas.search.gradient.methods.snas import Snas
from dnas.search.gradient.remedies import Remedies
from dnas.supernet.discretize import discretize
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.implicit import ImplicitConjugateGradient, ImplicitNeumann
from dnas.train import optimizers

SPACE = CellSpace("small", ("c",), ("none", "a", "b"), num_inputs=1, num_nodes=2, none_allowed=True)
SKIPS = CellSpace("skips", ("c",), ("none", "skip_connect"), num_inputs=1, num_nodes=2)
FIRST, OTHER = SPACE.decode((0, 0, 0)), SPACE.decode((1, 1, 1))
NB201 = nasbench201.SPACE
EVALUATION = Evaluation(1.0, 1.0, {})


def with_output(genotype: Genotype, *concat: int) -> Genotype:
  return Genotype(genotype.space, tuple((name, CellGenotype(cell.nodes, concat)) for name, cell in genotype.cells))


# Spaces and genotypes.


def test_another_output_is_another_network():
  """Its string in the form of the benchmark was that of another network, whose accuracy a table told for it."""
  cell = NB201.decode((3, 1, 2, 0, 4, 3))
  other = with_output(cell, 2)
  assert NB201.validate(other) is other and NB201.parse(NB201.notation(other)) == other
  table = Tabular(synthetic_table.planted())
  assert table(Proposal(cell)).score > 0
  for wrong in (other, with_output(cell, 1, 2, 3), Genotype("mine", cell.cells)):
    for refusing in (NB201.encode, nasbench201.to_string, lambda found: table(Proposal(found))):
      with pytest.raises(InputError, match="is not an architecture of space 'nasbench201'; give one"):
        refusing(wrong)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
  "a folder above": (lambda: CellSpace("..", ("c",), ("a",)), r"name is '\.\.'; write it with letters"),
  "a name for a break": (lambda: CellSpace("mine", ("c",), ("a\nb",)), r"operations is \('a\\nb',\); write it with letters"),
  "a name for two": (lambda: CellSpace("mine", ("c",), ("a,b",)), r"operations is \('a,b',\); write it with letters"),
  "a word that Python reads as another": (lambda: CellSpace("mine", ("ﬁ",), ("a",)), "name a cell by a word that does not end in 'concat'"),
  "5000 digits": (lambda: CellSpace("mine", ("c",), ("a",), num_nodes=10**5000), "num_nodes is a value of type int that is too long"),
  "halves": (lambda: SPACE.decode((0, 0.5, 0)), r"decisions \(0, 0.5, 0\) are not an architecture of space 'small'"),
  "nothing": (lambda: SPACE.decode(None), "decisions None are not an architecture"),
  "no output": (lambda: SPACE.validate(with_output(FIRST)), "genotype, cell 'c': it has no output; give it at least one"),
  "lists for tuples": (lambda: CellGenotype([[Edge("a", 0)]], (1,)), "a cell has the nodes .*; give each node as a tuple of Edge"),
  "a half for a source": (lambda: CellGenotype(((Edge("a", 0.5),),), (1,)), "a cell has the nodes .*; give each node as a tuple of Edge"),
  "a list for a concat": (lambda: CellGenotype(((Edge("a", 0),),), [1]), r"a cell has the concat \[1\]; give a tuple of state numbers"),
  "a mapping of cells": (lambda: Genotype("x", {"c": FIRST["c"]}), r"a genotype has the cells \{.*; give a tuple of pairs"),
  "no name of a space": (lambda: Genotype(None, FIRST.cells), "a genotype has the space None; give its name"),
  "lists without pairs": (lambda: from_lists("x", (1,), {"c": []}), r"\{'c': \[\]\} is not a mapping of cell types to pairs"),
  "no text": (lambda: nasbench201.from_string(None), "None is not text; write an architecture as"),
  "a name of another type": (lambda: SPACES[["darts_conv"]], r"unknown space \['darts_conv'\]"),
  "a name of 5000 digits": (lambda: SPACES[10**5000], "unknown space a value of type int that is too long to write"),
  "a name with a slash": (lambda: Registry("unit").register("a/b"), "unit 'a/b' has no name for a flag; write it with letters"),
  "no name": (lambda: Registry("unit").register(None), "unit None has no name for a flag"),
  "no weights": (lambda: discretize(SPACE, {"c": np.full((3, 3), np.nan)}), "'c': not all weights of its operations are finite"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_no_space_and_no_architecture(case: str):
  call, message = REFUSED[case]
  with pytest.raises(InputError, match=message):
    call()


def test_a_cap_that_no_cell_can_keep_to_ends():
  """It went round in circles for ever: where all operations are skip connections, there is none to take instead."""
  mixture = {"c": np.ones((3, 2), np.float32)}
  assert discretize(SKIPS, mixture, 3)["c"].nodes == ((Edge("skip_connect", 0),), (Edge("skip_connect", 0), Edge("skip_connect", 1)))
  with pytest.raises(InputError, match="3 edges of a cell can only be skip connections, and at most 2 may be; add operations"):
    discretize(SKIPS, mixture, 2)

  class Workload:
    space = SKIPS
    initial = None

  with pytest.raises(FieldError, match="remedies.skip_cap is 0; 3 edges of a cell can only be skip connections"):
    DartsTask(DartsConfig(), Workload(), FiniteDifference(), jax.random.key(0), None, Remedies(skip_cap=0))


# Settings.

SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
  "true": (lambda: DartsConfig(epochs=True), "epochs is True; it must be a whole number"),
  "text": (lambda: Snas(start_temperature="1"), "start_temperature is '1'; it must be a finite number"),
  "a half": (lambda: asha.Config(eta=2.5), "eta is 2.5; it must be a whole number"),
  "nan": (lambda: Remedies(perturbation_radius=math.nan), "perturbation_radius is nan; it must be a finite number"),
  "beyond float32": (lambda: DartsConfig(weight_decay=1e39), r"weight_decay is 1e\+39; it must be at most 3.40282e\+38"),
  "one in float32": (lambda: Remedies(skip_dropout=1 - 2**-30), "it rounds to 1 in float32 and must be below 1; lower it"),
  "a cold softmax": (lambda: Gdas(end_temperature=1e-40), "end_temperature is 1e-40; it must be at least 1e-06 and at most"),
  "a hot softmax": (lambda: Gdas(start_temperature=1e30), r"start_temperature is 1e\+30; it must be at least 1e-06 and at most"),
  "a wide cube": (lambda: Remedies(perturbation_radius=1e30), r"perturbation_radius is 1e\+30; it must be at most 1e\+06"),
  "a difference of rounding": (lambda: FiniteDifference(radius=1e-9), "radius is 1e-09; it must be at least 1e-06, below which"),
  "a long solve": (lambda: ImplicitConjugateGradient(damping=1e37), r"damping is 1e\+37; it must be at most 1e\+06"),
  "a long series": (lambda: ImplicitNeumann(scale=1e37), r"scale is 1e\+37; it must be at most 1e\+06"),
  "no strategy": (lambda: asha.Config(strategy="hyperband"), "strategy is hyperband; it can be gp, local_search"),
  "a step out of float32": (lambda: DartsConfig(arch_learning_rate=1e30), r"arch_learning_rate is 1e\+30; it must be at most 1e\+06"),
  "a wide start": (lambda: DartsConfig(arch_init_scale=1e30), r"arch_init_scale is 1e\+30; it must be at most 1e\+06"),
}


@pytest.mark.parametrize("case", list(SETTINGS))
def test_settings_that_are_refused(case: str):
  make, message = SETTINGS[case]
  with pytest.raises(FieldError, match=message):
    make()


def test_a_setting_of_another_type_is_refused_where_it_is_replaced():
  with pytest.raises(FieldError, match="^darts.epochs is nan; it must be a whole number"):
    config_lib.replace(ImageSearchConfig(), {"darts.epochs": math.nan})


def test_a_clip_that_float32_cannot_square_does_not_clip():
  """It was squared in Python, and overflowed there."""
  optimizer = optimizers.sgd(momentum=0.0, weight_decay=0.0, gradient_clip=1e200)
  state = optimizers.with_learning_rate(optimizer.init(jnp.zeros(2)), 1.0)
  np.testing.assert_allclose(optimizer.update(jnp.array([1e15, -1.0]), state, jnp.zeros(2))[0], [-1e15, 1.0])


@pytest.mark.parametrize("low", [-18.0, -30.0, -79.0, -1000.0])
def test_low_parameters_of_a_dirichlet_distribution(low: float):
  """Below -17 elu(x) + 1 is zero in float32, and all weights of the edge were NaN."""
  arch = {"c": jnp.array([[0.0, 1.0, low], [low, low, low], [low, 2.0, -0.5]])}

  def first(arch: Any) -> tuple[jax.Array, Any]:
    drawn = Dirichlet()(arch, jax.random.key(0), 0.0)
    return drawn["c"][:, 0].sum(), drawn

  gradient, drawn = jax.grad(first, has_aux=True)(arch)
  mean = Dirichlet().mean(arch)["c"]
  np.testing.assert_allclose(drawn["c"].sum(-1), 1, rtol=1e-5)
  np.testing.assert_allclose(mean[:2], [[1 / 3, 2 / 3, 0], [1 / 3] * 3], atol=1e-6)
  np.testing.assert_allclose(mean[2, 1:], np.array([3, math.exp(-0.5)]) / (3 + math.exp(-0.5)), rtol=1e-6)
  assert np.isfinite(gradient["c"]).all()


# Strategies, evaluations and journals.


def test_an_infinite_score_is_that_of_a_training_that_failed():
  """It was the best of all for evolution, local search, the rungs and the anytime curve, and a failure for the others."""
  entries = [(Proposal(FIRST), Evaluation(math.inf, 1.0, {})), (Proposal(OTHER), Evaluation(-5.0, 1.0, {}))]
  assert [step.genotype for step in study.incumbents(entries)] == [OTHER]
  evolution = regularized_evolution.Config(population=2, tournament=2).on(SPACE)
  state = evolution.init(0)
  for entry in entries:
    state = evolution.tell(state, *entry)
  assert max(state.population, key=lambda member: member[1])[0] == OTHER


@pytest.mark.parametrize("settings", [reinforce.Config(), reinforce_lstm.Config(hidden=4)], ids=["logits", "lstm"])
def test_scores_of_any_size_teach(settings: Any):
  """Their squares overflowed, and the policy was NaN, or stood still: it asked one architecture, whatever it was told."""
  strategy = settings.on(SPACE)
  state = strategy.init(0)
  for score in (1e300, -1.7e308, 1.7e308, 1e20, 1.0):
    proposal, state = strategy.ask(state)
    state = strategy.tell(state, proposal, Evaluation(score, 1.0, {}))
  seen = set()
  for _ in range(40):
    proposal, state = strategy.ask(state)
    seen.add(proposal.genotype)
  assert len(seen) > 5


def test_networks_of_strategies_that_do_not_stay_finite_say_so(monkeypatch):
  """They asked the first architecture for ever."""
  controller = reinforce_lstm.Config(hidden=4, learning_rate=1e6, init_scale=1e6).on(SPACE)
  state = controller.init(0)
  huge = dataclasses.replace(state, weights=jax.tree.map(lambda leaf: leaf * jnp.nan, state.weights))
  with pytest.raises(FieldError, match=r"reinforce_lstm.learning_rate is 1000000.0; the controller became non-finite"):
    controller.ask(huge)
  by_nao = nao.Config(population=2, seeds=2, children=2, hidden=4, training_steps=2, batch=2, learning_rate=1e6).on(SPACE)
  train, state = nao_network.train, by_nao.init(0)
  monkeypatch.setattr(nao_network, "train", lambda *given: (jax.tree.map(lambda leaf: leaf * jnp.nan, train(*given)[0]), None))
  with pytest.raises(FieldError, match=r"nao.learning_rate is 1000000.0; the networks became non-finite"):
    for score in range(9):
      proposal, state = by_nao.ask(state)
      state = by_nao.tell(state, proposal, Evaluation(float(score), 1.0, {}))


def test_what_was_not_asked_is_not_learned():
  strategy = bayesian.TpeConfig(startup=2).on(SPACE)
  with pytest.raises(InputError, match="no trial of .* is running; tell each proposal"):
    strategy.tell(strategy.init(0), Proposal(FIRST), EVALUATION)
  halving = asha.Config().on(SPACE)
  with pytest.raises(InputError, match=r"a proposal has the budget 2, and the rungs have \(1, 3, 9, 27, 81\); tell what was asked"):
    halving.tell(halving.init(0), Proposal(FIRST, 2), EVALUATION)
  brackets = hyperband.Config(max_budget=1).on(SPACE)
  _, waiting = brackets.ask(brackets.init(0))
  with pytest.raises(InputError, match="Hyperband is asked while a rung is incomplete"):
    brackets.ask(waiting)


RECORDS: dict[str, tuple[Callable[[], Any], str]] = {
  "a score of text": (lambda: Evaluation("1", 1.0, {}), "evaluation.score is '1'; give a number, or NaN"),
  "a score of two": (lambda: Evaluation(np.ones(2), 1.0, {}), "evaluation.score is .*; give a number"),
  "a score of 400 digits": (lambda: Evaluation(10**400, 1.0, {}), "evaluation.score is 1000"),
  "a cost below zero": (lambda: Evaluation(1.0, -1.0, {}), "evaluation.cost is -1.0; give seconds, zero or more"),
  "a cost of nan": (lambda: Evaluation(1.0, math.nan, {}), "evaluation.cost is nan; give seconds"),
  "metrics of pairs": (lambda: Evaluation(1.0, 1.0, [("a", 1)]), "evaluation.metrics is .*; give a mapping of names to numbers"),
  "a budget of zero": (lambda: Proposal(FIRST, 0), "proposal.budget is 0; give None, or a number of epochs above zero"),
  "a budget of text": (lambda: Proposal(FIRST, "9"), "proposal.budget is '9'; give None"),
  "a parent of 3": (lambda: Proposal(FIRST, 9, 3), "proposal.parent is 3; give None, or the id of a trial"),
  "no genotype": (lambda: Proposal("DARTS_V2"), "proposal.genotype is 'DARTS_V2'; give a Genotype"),
  "a seed below zero": (lambda: keys.generator(-1, "x"), "seed is -1; it must be a whole number, zero or more"),
  "half a seed": (lambda: keys.generator(0.5, "x"), "seed is 0.5; it must be a whole number"),
}


@pytest.mark.parametrize("case", list(RECORDS))
def test_records_that_are_refused(case: str):
  make, message = RECORDS[case]
  with pytest.raises(InputError, match=message):
    make()


def test_numbers_of_other_libraries_are_kept_as_floats():
  """A score of float32 could not be written to a journal."""
  made = Evaluation(np.float32(0.5), jnp.float32(2), {"x": np.int64(3)})
  assert (made.score, made.cost, made.metrics) == (0.5, 2.0, {"x": 3.0}) and type(made.score) is type(made.cost) is float
  assert study.from_lines(study.to_line((Proposal(FIRST), made)), SPACE, "j") == [(Proposal(FIRST), made)]


ENTRY = json.loads(study.to_line((Proposal(FIRST), EVALUATION)))


@pytest.mark.parametrize(
  "changes",
  [
    {"budget": "9"},
    {"budget": 0},
    {"budget": True},
    {"parent": 3},
    {"score": "1"},
    {"score": 10**400},
    {"score": True},
    {"cost": -1.0},
    {"cost": math.nan},
    {"metrics": [["a", 1]]},
    {"metrics": {"a": "b"}},
  ],
  ids=str,
)
def test_fields_of_a_journal_that_are_refused(changes: dict[str, Any]):
  line = json.dumps(ENTRY | changes) + "\n"
  with pytest.raises(InputError, match="^j, line 1: .* is .*, so it is not an entry of a journal; remove the file"):
    study.from_lines(line, SPACE, "j")


@pytest.mark.parametrize("line", ["[" * 90_000, "9" * 5_000, '{"score": \\xff}'])
def test_lines_of_a_journal_that_are_refused(line: str):
  with pytest.raises(InputError, match="^j, line 1: .* is not an entry of a journal; remove the file"):
    study.from_lines(line + "\n", SPACE, "j")


def test_a_study_that_would_not_end_is_refused():
  strategy = regularized_evolution.Config().on(SPACE)
  for cost, seconds, message in (
    (0.0, 10.0, r"cost 0.0 seconds; the cost must be above zero"),
    (1.0, math.nan, "the budget is nan seconds; it must be above zero"),
    (1.0, -1.0, "the budget is -1.0 seconds; it must be above zero"),
  ):
    with pytest.raises(InputError, match=message):
      next(study.run(strategy, lambda proposal, cost=cost: Evaluation(1.0, cost, {}), 0, seconds))
  for num_workers, seconds in ((1.5, 10.0), (True, 10.0), (10**9, 10.0), (2, math.inf), (2, math.nan)):
    with pytest.raises(FieldError, match="num_workers is|seconds is"):
      simulated_workers.simulate(strategy, 0, lambda proposal: EVALUATION, num_workers, seconds)


# Launchers.


def test_a_journal_with_bytes_that_are_no_text_is_refused_or_cut(tmp_path, capsys):
  """It ended in a UnicodeDecodeError; behind the last line break it is what was being written."""
  flags = [f"--workdir={tmp_path}", "--methods=random_search", "--seeds=1", "--seconds=2000", "--pool.workers=1"]
  flags.append("--compilation_cache=none")
  assert compare.main(["compare", *flags]) == 0
  folder = tmp_path / "nasbench201" / "tabular" / "random_search" / "seed_0000"
  whole = (folder / "journal.jsonl").read_bytes()
  (folder / "result.json").unlink()
  (folder / "journal.jsonl").write_bytes(b"\xff" + whole)
  capsys.readouterr()
  assert compare.main(["compare", *flags]) == 2
  err = capsys.readouterr().err
  assert err.count("\n") == 1 and f"{folder / 'journal.jsonl'}, line 1: " in err and "is not an entry of a journal" in err
  (folder / "journal.jsonl").write_bytes(whole[: len(whole) // 2] + b"\xff\xfe")
  assert compare.main(["compare", *flags]) == 0 and (folder / "journal.jsonl").read_bytes() == whole


SAID = {
  "a flag of images": (tune, ["--preset=tune_darts_ptb", "--training.train.auxiliary_weight=0"], "is not a flag; did you"),
  "a module with a zero byte": (search, ["--imports=\0.py"], r"--imports=\x00.py has a null character, which no path has"),
  "a module of nobody": (search, ["--imports=~nouser/x.py"], "--imports=~nouser/x.py begins with '~nouser', a home"),
  "a flag with a break": (search, ["--zz\nz=1"], r"--zz\nz is not a flag"),
  "what is no flag, and colours the terminal": (search, ["\x1b[31mred"], r"'\x1b[31mred' is not a flag"),
  "a flag of 5000 letters": (search, ["--" + "z" * 5000], "a name of thousands of letters is not a flag; see --help."),
  "a number beyond float32": (search, ["--darts.learning_rate=1e300"], "--darts.learning_rate is 1e+300; it must be at most 3.40282e+38."),
  "a number of 400 digits": (search, [f"--darts.epochs={10**400}"], "give a number of at most 18 digits."),
}


@pytest.mark.parametrize("case", list(SAID))
def test_flags_that_are_refused_in_one_line(case: str, capsys):
  module, given, sentence = SAID[case]
  assert module.main([module.LAUNCHER.name, *given]) == 2
  out, err = capsys.readouterr()
  assert out == "" and err.count("\n") == 1 and err.rstrip("\n").isprintable() and sentence.lower() in err.lower(), err


def test_a_flag_of_5000_letters_in_a_file_of_flags(tmp_path, capsys):
  (tmp_path / "flags").write_text("--" + "z" * 5000 + "\n")
  assert search.main(["search", f"--flagfile={tmp_path / 'flags'}"]) == 2
  assert capsys.readouterr().err == "error: a name of thousands of letters is not a flag; see --help.\n"


@pytest.mark.parametrize("name", ["pc-darts", "class", "idle", "recorded"])
def test_a_unit_with_settings_has_a_name_for_its_flags(name: str, monkeypatch):
  """The first two were a TypeError of dataclasses; the last two stood in the place of a method of the configuration."""
  monkeypatch.setattr(METHODS, "_units", {**METHODS._units, name: PCDarts})
  with pytest.raises(InputError, match=re.escape(f"method '{name}' has a name that flags cannot begin with; give another")):
    config_lib.with_units(ImageSearchConfig())
