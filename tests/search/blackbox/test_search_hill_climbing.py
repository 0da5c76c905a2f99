"""Hill climbing by morphisms: what its proposals are, which network goes on, and that it resumes from its journal."""

import numpy as np
import pytest

from dnas.cells.nasbench201 import SPACE as CELLS
from dnas.core.chain_space import ChainSpace, layers_of
from dnas.core.records import Evaluation
from dnas.core.trials import trial_id
from dnas.nets.morphisms.cells import is_exact
from dnas.nets.morphisms.chain import MORPHISMS
from dnas.nets.morphisms.chain_path import path
from dnas.search.blackbox import rungs
from dnas.search.blackbox.base import replay
from dnas.search.blackbox.hill_climbing import Config
from dnas.search.blackbox.regularized_evolution import Config as EvolutionConfig

CHAINS = ChainSpace("conv_chain", kernels=(1, 3), widths=(1, 2), num_poolings=1)


def size_of(genotype):
  """A landscape in which larger networks are better."""
  operations = [edge.operation for _, cell in genotype.cells for node in cell.nodes for edge in node]
  return float(sum(10 * ("conv" in operation) + len(operation) for operation in operations))


def run(strategy, count, seed=0, score=size_of):
  state, out = strategy.init(seed), []
  for _ in range(count):
    proposal, state = strategy.ask(state)
    out.append((proposal, Evaluation(score(proposal.genotype), 1.0, {})))
    state = strategy.tell(state, *out[-1])
  return out, state


@pytest.mark.parametrize("space", [CHAINS, CELLS], ids=lambda space: space.name)
def test_every_step_trains_children_of_the_best_and_the_unchanged_network(space):
  journal, _ = run(Config(neighbours=4, morphisms=2).on(space), 1 + 3 * 4)
  best = journal[0]
  assert best[0].parent is None and (space is CELLS or best[0].genotype == space.smallest())
  for start in range(1, len(journal), 4):
    step = journal[start : start + 4]
    assert {proposal.parent for proposal, _ in step} == {trial_id(best[0])}
    assert step[-1][0].genotype == best[0].genotype, "the last neighbour is the unchanged network"
    best = max(step, key=lambda entry: entry[1].score)
  assert best[1].score > journal[0][1].score


def test_children_of_chains_inherit_exactly():
  journal, _ = run(Config(neighbours=3).on(CHAINS), 20)
  trials = {trial_id(proposal): proposal.genotype for proposal, _ in journal}
  for proposal, _ in journal[1:]:
    assert all(MORPHISMS[step.edit.kind].exact for step in path(CHAINS, trials[proposal.parent], proposal.genotype))
  assert len(layers_of(journal[-1][0].genotype)) > 3


def test_approximate_morphisms_make_networks_smaller_too():
  small = [size_of(proposal.genotype) for proposal, _ in run(Config(approximate=True).on(CHAINS), 60, score=lambda one: -size_of(one))[0]]
  large = [size_of(proposal.genotype) for proposal, _ in run(Config().on(CHAINS), 60)[0]]
  assert min(small[30:]) < min(large[30:]) and np.mean(small) < np.mean(large)


def test_cells_change_by_exact_morphisms_while_there_are_some():
  journal, _ = run(Config(neighbours=3, morphisms=1).on(CELLS), 30)
  trials = {trial_id(proposal): proposal.genotype for proposal, _ in journal}
  exact = [is_exact(trials[proposal.parent], proposal.genotype, 1) for proposal, _ in journal[1:]]
  growing = [any(is_exact(trials[one.parent], other, 1) for other in CELLS.neighbours(trials[one.parent])) for one, _ in journal[1:]]
  assert all(one for one, grows in zip(exact, growing, strict=True) if grows) and exact[0]


@pytest.mark.parametrize("space", [CHAINS, CELLS], ids=lambda space: space.name)
def test_a_journal_brings_the_state_back(space):
  strategy = Config(neighbours=3).on(space)
  journal, state = run(strategy, 11, seed=5)
  assert replay(strategy, 5, journal) == state and replay(strategy, 5, journal[:7]) == run(strategy, 7, seed=5)[1]


def test_workers_that_ask_ahead_get_further_children_and_late_results_are_left_out():
  strategy = Config(neighbours=2, morphisms=1).on(CHAINS)
  state = strategy.init(0)
  first, state = strategy.ask(state)
  again, state = strategy.ask(state)
  assert first == again
  state = strategy.tell(state, first, Evaluation(0.5, 1.0, {}))
  asked = []
  for _ in range(3):
    proposal, state = strategy.ask(state)
    asked.append(proposal)
  for proposal, score in zip(asked[:2], (0.2, 0.9), strict=True):
    state = strategy.tell(state, proposal, Evaluation(score, 1.0, {}))
  assert state.current.genotype == asked[1].genotype and state.told == ()
  assert strategy.tell(state, asked[2], Evaluation(1.0, 1.0, {})) == state
  assert strategy.tell(state, again, Evaluation(1.0, 1.0, {})) == state


def test_failed_trainings_are_never_the_best():
  strategy = Config(neighbours=2, morphisms=1).on(CHAINS)
  journal, state = run(strategy, 3, score=lambda genotype: 0.1 if genotype == CHAINS.smallest() else float("nan"))
  assert state.current.genotype == CHAINS.smallest() and state.current.trial != trial_id(journal[0][0])


def test_evolution_names_the_trial_of_the_parent_if_it_is_to_inherit():
  options = {"population": 4, "tournament": 4}
  (plain, _), (journal, _) = (run(EvolutionConfig(**options, inherit=inherit).on(CHAINS), 30) for inherit in (False, True))
  assert [one.genotype for one, _ in plain[:5]] == [one.genotype for one, _ in journal[:5]] and all(one.parent is None for one, _ in plain)
  trials = {trial_id(proposal): proposal.genotype for proposal, _ in journal}
  assert all(one.parent is None for one, _ in journal[:4])
  assert all(one.genotype in (*CHAINS.neighbours(trials[one.parent]), trials[one.parent]) for one, _ in journal[4:])


def test_rungs_do_not_wrap_what_names_parents():
  assert "hill_climbing" not in rungs.names() and "regularized_evolution" in rungs.names()
