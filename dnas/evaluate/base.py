"""What every evaluator is: a function from a proposal to an evaluation."""

from typing import Protocol

from dnas.core.records import Evaluation, Proposal


class Evaluator(Protocol):
  """Says how good an architecture is, by validation data alone, and what that cost.

  The same proposal gives the same score at every call. There is no way from here to a test set.
  """

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Evaluates the architecture with its budget, from the training that it resumes if it names one (`core.trials.trial_id`).

    Raises:
      InputError: if the evaluator has no such budget, or the architecture is not of its space.
    """
