"""Black-box searches in networks of a user's own, as a Python function: a strategy proposes, and each proposal is trained."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.choice_space import ChoiceGenotype
from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.costs import NAMES, scaled
from dnas.core.errors import InputError, counted, shown
from dnas.core.paths import expanded
from dnas.core.records import Evaluation, Proposal
from dnas.data.pairs import Batches, check_batches
from dnas.evaluate.networks import NetworkTraining
from dnas.launchers import _flags, _run
from dnas.launchers._config_checks import check_seed
from dnas.launchers._networks import about, changed, described
from dnas.launchers._python import Folder, options_of
from dnas.search.blackbox import objectives, rungs, study
from dnas.search.blackbox.base import replay
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.supernet.choice_network import Build, SearchableNetwork
from dnas.train.networks import Config as TrainingConfig
from dnas.train.own_loss import Loss, check_loss

SCORE = "score"
"""The first objective. It alone is maximized."""


@config_lib.mounts(STRATEGIES)
@dataclasses.dataclass(frozen=True)
class NetworkTrialsConfig:
  """A black-box search in a network of a user's own, and the settings of every strategy.

  Attributes:
    strategy: the strategy.
    trials: number of evaluations.
    metric: name of the metric, of those that the loss function returns, that is to be high; empty for a low loss.
    objectives: score, and costs that are minimized beside it, with commas between them: weights, multiply_adds or activation_bytes. A
      strategy with one objective searches for the score alone.
    seed: seed of the strategy, of the weights and of the order of the data.
  """

  strategy: str = named("regularized_evolution", lambda: STRATEGIES)
  trials: int = 50
  metric: str = ""
  objectives: str = SCORE
  seed: int = 0
  train: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

  def __post_init__(self):
    check_types(self)
    check_positive(trials=self.trials)
    check_at_most(10**6, trials=self.trials)
    check_seed(self.seed)
    check_name("strategy", self.strategy, STRATEGIES)
    for name in self.costs:
      check_name("objectives", name, NAMES)
    check(self.metric != "loss", "metric", self.metric, "a metric is to be high, and the loss low; leave it empty for a low loss")

  @property
  def costs(self) -> tuple[str, ...]:
    """The objectives that are minimized."""
    return objectives.names_of(self.objectives, SCORE)[1:]

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component, _, field = path.partition(".")
    if component in config_lib.units(self, STRATEGIES) and component != self.strategy:
      return f"it does nothing with the strategy {self.strategy}, so leave it out"
    if idle_limit := objectives.idle_limit(getattr(self, component), component, field):
      return idle_limit
    if path == "train.momentum" and self.train.optimizer != "sgd":
      return f"it does nothing with the optimizer {self.train.optimizer}, so leave it out"
    return ""


@dataclasses.dataclass(frozen=True)
class NetworkTrials:
  """The result of a black-box search in a network of one's own.

  Attributes:
    genotype: the architecture with the highest score, within the limit if the strategy has one and a network is within.
    score: its score: minus the validation loss, or the metric.
    trials: all proposals with their evaluations. Their metrics have the costs of the network for one example.
    front: the trials, pairs of a proposal and its evaluation, that no other one dominates by the objectives. Only the longest trainings
      count, and of a strategy with a limit those within it.
    network: the network with choices.
  """

  genotype: ChoiceGenotype
  score: float
  trials: Sequence[tuple[Proposal, Evaluation]]
  front: Sequence[tuple[Proposal, Evaluation]]
  network: SearchableNetwork

  def derive(self, seed: int | None = None, genotype: ChoiceGenotype | None = None) -> nnx.Module:
    """Returns the network of an architecture with fresh weights, a plain Flax module; of the best one if none is given."""
    return self.network.derive(genotype or self.genotype, seed=seed)


def run_network_trials(
  network: Build,
  data: Batches,
  loss: Loss,
  workdir: Folder,
  config: NetworkTrialsConfig | None = None,
  *,
  strategy: str | None = None,
  trials: int | None = None,
  epochs: int | None = None,
  changes: Mapping[str, Any] | None = None,
  **options: Any,
) -> NetworkTrials:
  """Searches a network of one's own with a black-box strategy, or resumes the search. The same call again resumes it.

  Args:
    network, data, loss: as in `search_network`.
    workdir: the folder of the run: configuration, journal.jsonl with a line for every trial, and a checkpoint of every training.
    config: the settings.
    strategy: the strategy, as in the settings.
    trials: number of evaluations, as in the settings.
    epochs: epochs of a full training, as `train.epochs` in the settings.
    changes: further settings by their dotted paths, such as {"train.learning_rate": 0.1, "asha.max_budget": 9}.
    **options: fields of `Options`.

  Raises:
    InputError: for a network, data, a loss, settings or a folder that cannot be used.
  """
  values = changed(changes, {"strategy": strategy, "trials": trials, "train.epochs": epochs})
  config = NetworkTrialsConfig() if config is None else config
  if not isinstance(config, NetworkTrialsConfig):
    raise InputError(f"run_network_trials does not take {shown(type(config).__name__)}; give NetworkTrialsConfig.")
  config = config_lib.replace(config_lib.with_units(config), values)
  _flags.refuse_idle(config, values)
  chosen = options_of(workdir, options, ("save_every_steps", "keep_checkpoints", "force", "profile_steps"))
  _flags.require_one_process(chosen)
  check_batches(data)
  check_loss(loss)
  _run.prepare(chosen)
  searched = SearchableNetwork(network, config.seed)
  settings = config_lib.unit(config, STRATEGIES, config.strategy)
  if limit := objectives.limit_of(settings):
    objectives.check_limit(config.strategy, *limit, NAMES, f"the costs are {', '.join(NAMES)}")
  rungs.check_fit(config.strategy, settings, config.train.epochs)
  proposes = objectives.on_space(settings, searched.space, config.costs)
  checkpoints = expanded("workdir", chosen.workdir).absolute() / "checkpoints"
  evaluator = NetworkTraining(config.train, searched, data, loss, config.seed, checkpoints, config.metric)
  evaluator.check()
  parts = _run.Parts({"network.json": described(searched, data, evaluator.batch)}, about(searched, data))
  with _run.open_folder(chosen, "network_trials", config_lib.flatten(config), parts, config_lib.defaults(config), ("trials",)) as folder:
    path = folder.path / "journal.jsonl"
    journal = study.from_lines(path.read_text() if path.exists() else "", searched.space, str(path))
    durable.write(path, "".join(study.to_line(entry) for entry in journal))  # without a line that was being written at a kill
    print(f"search by {config.strategy}: {counted(config.trials, 'training')}, {len(journal)} done", flush=True)
    if config.costs and not objectives.takes_several(settings):
      print(f"{objectives.about_single([config.strategy], SCORE)}.", flush=True)
    state = replay(proposes, config.seed, journal)
    while len(journal) < config.trials:
      proposal, state = proposes.ask(state)
      evaluation = evaluator(proposal)
      state = proposes.tell(state, proposal, evaluation)
      durable.append(path, study.to_line((proposal, evaluation)))
      journal.append((proposal, evaluation))
      told = "".join(f"  {name} {scaled(evaluation.metrics[name])}" for name in config.costs)
      notation = searched.space.notation(proposal.genotype)
      print(f"trial {len(journal)}/{config.trials}  {notation}  score {evaluation.score:.4g}{told}", flush=True)
    if not (bests := study.incumbents(journal, objectives.violation_of(settings))):
      raise InputError("no training ended in a finite score, so no architecture is the best; lower train.learning_rate.")
    best, found = journal[bests[-1].trial]
    folder.write_genotype(best.genotype.to_json())
    notation = searched.space.notation(best.genotype)
    genotype = json.loads(best.genotype.to_json())
    costs = evaluator.costs(best.genotype)
    front = study.front(objectives.within(settings, journal), config.costs)
    networks = [objectives.listed(entry, searched.space, config.costs) for entry in front]
    outcome = {"score": found.score, "trials": len(journal), **dataclasses.asdict(costs)} | ({"front": networks} if config.costs else {})
    folder.write_result({"genotype": genotype, "notation": notation, **outcome})
    print(f"\nfound: {notation}\nits network: {costs}")
    if unmet := objectives.about_unmet(config.strategy, settings, [evaluation for _, evaluation in journal]):
      print(unmet)
    if config.costs:
      print(f"the front has {counted(len(front), 'network')}; they are in {folder.path / 'result.json'}")
  return NetworkTrials(best.genotype, found.score, tuple(journal), tuple(front), searched)
