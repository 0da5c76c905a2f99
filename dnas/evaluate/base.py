"""The interface of evaluators: a function from a proposal to an evaluation."""

from typing import Protocol

from dnas.core.records import Evaluation, Proposal


class Evaluator(Protocol):
  """Scores an architecture on validation data alone, and returns the score with its cost.

  The same proposal gives the same score at every call. An evaluator has no access to a test set.
  """

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Evaluates the architecture with its budget; resumes the training that the proposal names, if any (`core.trials.trial_id`).

    Raises:
      InputError: if the evaluator has no such budget, or the architecture is not of its space.
    """
    ...
