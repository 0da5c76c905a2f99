"""Trials: ids of trainings. A later proposal resumes a training by its id."""

import hashlib

from dnas.core.records import Proposal


def trial_id(proposal: Proposal) -> str:
  """Returns the id of the training that a proposal asks for, 16 hexadecimal digits.

  The id depends on the proposal alone. So a strategy that is a pure function and an evaluator that keeps checkpoints agree on it without
  a shared counter. Two proposals have the same id exactly if they ask for the same architecture, budget and parent.
  """
  text = f"{proposal.genotype.to_json()} {proposal.budget} {proposal.parent}"
  return hashlib.sha256(text.encode()).hexdigest()[:16]
