"""The process of a peer: it takes steps when it is told to, and answers how long they took."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from . import image_network, image_search, recurrent

JOBS: Mapping[str, Callable[[dict[str, np.ndarray]], Mapping[str, Callable[[], object]]]] = {
  "search_first_order": image_search.steps,
  "retrain": image_network.training_steps,
  "evaluate": image_network.evaluation_steps,
  "language_search": recurrent.search_steps,
  "language_retrain": recurrent.training_steps,
  "language_evaluate": recurrent.evaluation_steps,
}
"""Job to a function of the problem's arrays, which returns the step in each of its forms."""


def main(job: str, path: str) -> None:
  """Answers lines 'step' with the seconds of a step in every form, in JSON; before them a line tells the versions and the forms."""
  answers = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever else is printed is no answer
  with np.load(path) as arrays:
    steps = JOBS[job](dict(arrays))
  about = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads(), "forms": list(steps)}
  print(json.dumps(about), file=answers)
  for line in sys.stdin:
    if line.strip() == "step":
      seconds = []
      for step in steps.values():
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
      print(json.dumps(seconds), file=answers)
