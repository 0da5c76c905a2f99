"""What a strategy proposes that one worker asks and tells."""

from collections.abc import Callable
from typing import Any

from dnas.core.records import Evaluation, Proposal
from dnas.search.blackbox.base import Strategy
from dnas.search.blackbox.study import Entry


def sequence(strategy: Strategy, evaluate: Callable[[Proposal], Evaluation], seed: int, count: int) -> tuple[list[Entry], Any]:
  state, out = strategy.init(seed), []
  for _ in range(count):
    proposal, state = strategy.ask(state)
    out.append((proposal, evaluate(proposal)))
    state = strategy.tell(state, *out[-1])
  return out, state
