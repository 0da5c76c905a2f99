"""Trials: the identity of a training, by which a later proposal resumes it."""

import hashlib

from dnas.core.records import Proposal


def trial_id(proposal: Proposal) -> str:
  """Returns the id of the training that a proposal asks for, 16 hexadecimal digits.

  It is computed from the proposal alone, so that a strategy that is a pure function and an evaluator that keeps checkpoints agree on it
  without a counter between them. Two proposals have one id exactly if they ask for the same architecture, budget and parent.
  """
  text = f"{proposal.genotype.to_json()} {proposal.budget} {proposal.parent}"
  return hashlib.sha256(text.encode()).hexdigest()[:16]
