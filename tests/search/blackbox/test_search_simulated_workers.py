"""Workers simulated in time: ASHA and Hyperband on examples worked by hand, and workers that die."""

import itertools
import math

import pytest
from halving_toy import Resuming, Scripted, letter

from dnas.core.errors import InputError
from dnas.core.records import Evaluation
from dnas.search.blackbox import asha, hyperband, simulated_workers

SCORES = {"a": 5.0, "b": 3.0, "c": 8.0, "d": 1.0, "e": 6.0, "f": 9.0, "g": 2.0, "h": 0.0, "i": 4.0}
ASHA = asha.Config(max_budget=4, eta=2).around(Scripted("abcdefghi"))
HYPERBAND = hyperband.Config(max_budget=4, eta=2).around(Scripted("abcdefghi"))


def shown(simulation: simulated_workers.Simulation) -> list[tuple[int, str, float, float]]:
  return [
    (job.worker, f"{letter(job.proposal)}{job.proposal.budget}{'' if job.evaluation else ' lost'}", job.start, job.end)
    for job in simulation.jobs
  ]


def test_asha_on_two_workers_by_hand():
  """An epoch takes a second, and a promotion only the seconds of the epochs it adds."""
  simulation = simulated_workers.simulate(ASHA, 0, Resuming(SCORES), 2, seconds=7.5)
  assert shown(simulation) == [
    (0, "a1", 0, 1),
    (1, "b1", 0, 1),
    (0, "a2", 1, 2),  # best of two
    (1, "c1", 1, 2),
    (0, "c2", 2, 3),  # c is the best of three; one trial at two epochs promotes nothing
    (1, "d1", 2, 3),
    (1, "e1", 3, 4),  # worker 0 trains c from 2 to 4 epochs meanwhile, for two seconds: the highest rung is served first
    (0, "c4", 3, 5),
    (1, "e2", 4, 5),  # of c, e, a, b, d the best two are c and e
    (0, "f1", 5, 6),  # of c, e, a at two epochs the best one is c, promoted already
    (1, "g1", 5, 6),
    (0, "f2", 6, 7),
    (1, "h1", 6, 7),
  ]
  assert [[entry.score for entry in rung] for rung in simulation.state.rungs] == [[9, 8, 6, 5, 3, 2, 1, 0], [9, 8, 6, 5], [8]]
  assert simulation.idle == (0, 0)


def test_hyperband_on_two_workers_by_hand():
  """The same architectures, synchronously: worker 1 waits while the last trial of a rung runs."""
  simulation = simulated_workers.simulate(HYPERBAND, 0, Resuming(SCORES), 2, seconds=11)
  assert shown(simulation) == [
    (0, "a1", 0, 1),
    (1, "b1", 0, 1),
    (0, "c1", 1, 2),
    (1, "d1", 1, 2),
    (0, "c2", 2, 3),
    (1, "a2", 2, 3),
    (0, "c4", 3, 5),
    (0, "e2", 5, 7),
    (1, "f2", 5, 7),
    (0, "g2", 7, 9),
    (0, "f4", 9, 11),
  ]
  assert simulation.idle == (0, 2 + 2 + 2)


def test_a_dying_worker_loses_one_job_which_is_given_again():
  death = simulated_workers.Death(worker=1, time=0.5, back=2.0)
  simulation = simulated_workers.simulate(ASHA, 0, Resuming(SCORES), 2, seconds=4, deaths=[death])
  assert shown(simulation) == [
    (1, "b1 lost", 0, 0.5),
    (0, "a1", 0, 1),
    (0, "b1", 1, 2),  # before anything new
    (0, "a2", 2, 3),
    (1, "c1", 2, 3),
    (0, "c2", 3, 4),
    (1, "d1", 3, 4),
  ]
  assert simulation.idle == (0, 0)  # the time of death is not idle


@pytest.mark.parametrize(("strategy", "losses"), [(ASHA, 3), (HYPERBAND, 2)])  # worker 1 waits when it dies the second time
def test_every_lost_job_is_given_again(strategy: simulated_workers.Strategy, losses: int):
  deaths = [simulated_workers.Death(1, 0.25, 0.75), simulated_workers.Death(0, 1.5, 1.5 + 1e-3), simulated_workers.Death(1, 3.9, 6.0)]
  simulation = simulated_workers.simulate(strategy, 0, Resuming(SCORES), 2, seconds=9, deaths=deaths)
  lost = [job.proposal for job in simulation.jobs if job.evaluation is None]
  complete = [job.proposal for job in simulation.jobs if job.evaluation is not None]
  assert len(lost) == losses and set(lost) <= set(complete) and len(set(complete)) == len(complete)
  for one, other in itertools.combinations(simulation.jobs, 2):
    assert one.worker != other.worker or one.end <= other.start or other.end <= one.start  # one job at a time


def test_a_job_that_ends_as_its_worker_dies_is_complete():
  simulation = simulated_workers.simulate(ASHA, 0, Resuming(SCORES), 1, seconds=9, deaths=[simulated_workers.Death(0, 1.0)])
  assert shown(simulation) == [(0, "a1", 0, 1)]
  assert simulation.idle == (0,)


def test_when_all_are_dead_nothing_more_happens():
  deaths = [simulated_workers.Death(0, 0.5), simulated_workers.Death(1, 0.75)]
  simulation = simulated_workers.simulate(HYPERBAND, 0, Resuming(SCORES), 2, seconds=100, deaths=deaths)
  assert [name for _, name, _, _ in shown(simulation)] == ["a1 lost", "b1 lost"] and simulation.idle == (0, 0)


def test_a_simulation_repeats():
  first, second = (simulated_workers.simulate(ASHA, 0, Resuming(SCORES), 3, seconds=3) for _ in range(2))
  assert first == second


def test_a_failed_training_is_told():
  nan = {name: math.nan for name in "abcdefghi"}
  simulation = simulated_workers.simulate(ASHA, 0, Resuming(nan), 2, seconds=3)
  assert [name for _, name, _, _ in shown(simulation)] == ["a1", "b1", "c1", "d1", "e1", "f1"]


def test_bad_input():
  for arguments, message in (
    ({"num_workers": 0}, "num_workers is 0; it must be above zero"),
    ({"seconds": 0}, "seconds is 0; it must be above zero"),
    ({"deaths": [simulated_workers.Death(2, 1.0)]}, "deaths is .*; the workers are 0 to 1"),
    ({"deaths": [simulated_workers.Death(0, 1.0, 0.5)]}, "deaths is .*; a worker dies at second 0 or later, and comes back after it died"),
  ):
    with pytest.raises(InputError, match=message):
      simulated_workers.simulate(ASHA, 0, Resuming(SCORES), **({"num_workers": 2, "seconds": 5} | arguments))
  with pytest.raises(InputError, match="simulated time needs a cost above zero"):
    simulated_workers.simulate(ASHA, 0, lambda proposal: Evaluation(1.0, 0.0, {}), 1, seconds=5)
