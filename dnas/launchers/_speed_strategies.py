"""The time that black-box strategies take themselves: to choose architectures, and to learn from their scores."""

import time
from typing import Any

import jax

from dnas.core.errors import InputError
from dnas.core.records import Evaluation
from dnas.evaluate import digits_bench
from dnas.report.tables import Table
from dnas.search.blackbox.strategies import STRATEGIES

JOB = "strategies"
"""The name of the job."""


def overheads(evaluations: int) -> list[dict[str, Any]]:
  """Returns, for every strategy, the seconds that it takes per evaluation of the table digits_bench, and those of the first evaluation.

  The score at every budget is the accuracy after the last epoch of the table; looking it up does not count. The first evaluation compiles
  the networks of a strategy that has some.
  """
  table = digits_bench.load(seed=0)
  scores = table.valid(table.epochs[-1])
  rows = []
  for name in STRATEGIES:
    try:
      strategy = STRATEGIES[name]().on(table.space)
    except InputError as e:  # it needs a package that is not installed
      print(f"{name} is left out: {e}")
      continue
    state, own, first = strategy.init(0), 0.0, 0.0
    for number in range(evaluations):
      began = time.perf_counter()
      proposal, state = strategy.ask(state)
      own += time.perf_counter() - began
      evaluation = Evaluation(float(scores[table.row(proposal.genotype)]), 1.0, {})
      began = time.perf_counter()
      state = jax.block_until_ready(strategy.tell(state, proposal, evaluation))
      own += time.perf_counter() - began
      first = own if number == 0 else first
    rows.append({"strategy": name, "evaluations": evaluations, "first": first, "each": (own - first) / max(evaluations - 1, 1)})
  return rows


def table_of(rows: list[dict[str, Any]]) -> Table:
  """Returns the measurements as a table."""
  lines = [(row["strategy"], f"{row['first']:.2f}", f"{1e3 * row['each']:.2f}") for row in rows]
  caption = f"time of the strategies over {rows[0]['evaluations']:,} evaluations each, that of the evaluations left out"
  return Table(caption, ("strategy", "first evaluation (s)", "every other one (ms)"), tuple(lines))
