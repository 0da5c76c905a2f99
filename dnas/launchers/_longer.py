"""A training that goes on with more epochs than it was begun with."""

from dnas.core.errors import FieldError, InputError, counted
from dnas.core.paths import expanded
from dnas.launchers._flags import Options
from dnas.launchers.configs import ImageTrainConfig, LanguageTrainConfig
from dnas.report.runs import load_run

EPOCHS = "train.epochs"


def check(config: ImageTrainConfig | LanguageTrainConfig, options: Options) -> bool:
  """Returns whether the training in the folder of the run was begun with fewer epochs than `config` has.

  A longer run ends with the same bits as a run that was begun with all epochs.

  Raises:
    FieldError: if it was, and something in it depends on the number of epochs, or the training has ended before its last epoch.
  """
  folder = expanded("--workdir", options.workdir)
  try:
    run = load_run(folder)
  except InputError:  # there is no run, or one that `RunFolder.open` refuses
    return False
  before, now = run.config.get(EPOCHS), config.train.epochs
  if run.launcher != "train" or not isinstance(before, int) or before >= now:
    return False
  begun = f"the training in {folder} was begun with {counted(before, 'epoch')}"
  reason = config.bound_to_epochs()
  if reason:
    raise FieldError(EPOCHS, now, f"{begun}, and {reason}, so it cannot be made longer; give another --workdir")
  if len(run.metrics) < before and (folder / "result.json").exists():
    raise FieldError(EPOCHS, now, f"{begun} and ended by itself after {len(run.metrics)}, so more epochs change nothing")
  return True
