"""Another valid value for every field of the launchers' configurations."""

from dnas.launchers import configs

CHOICES = {"space": "nasnet", "hypergradient": "unrolled", "data.data_dir": "elsewhere", "genotype": "random:1", "search": "text_demo"}
CHOICES |= {"methods": "random_search,gdas", "evaluator": "training", "table": "elsewhere.npz", "dataset": "imagenet16_120"}
CHOICES |= {"training": "darts_cifar10_retrain", "local_search.step": "first", "asha.strategy": "tpe", "hyperband.strategy": "tpe"}
CHOICES |= {"objectives": "accuracy,weights", "latencies": "elsewhere.npz", "regularized_evolution.limit_of": "weights"}
CHOICES |= {"evaluators": "tabular,random", "hypernetwork.encoder": "flat"}
CHOICES |= {"contestants": "tune_digits_cell,tune_digits_resnet", "budget_in": "seconds"}
CHOICES |= {"scale": "demo", "rows": "darts", "run": "elsewhere", "folder": "elsewhere", "split": "valid", "format": "jax"}
CHOICES |= {"darts.optimizer": "adam", "cost.of": "weights", "cost.table": "elsewhere"}
CHOICES |= {"start_from": "elsewhere", "method": "darts", "remedies.perturbation": "uniform"}
CHOICES |= {"train.schedule": "linear", "search_space": "train.learning_rate = log(0.1, 0.2)", "storage": "elsewhere", "study_name": "b"}
CHOICES |= {"study.sampler": "random", "study.pruner": "median", "study.objectives": "loss", "pool.executor": "ray"}
CHOICES |= {name: "bfloat16" for name in ("supernet.precision", "network.precision")}
IMAGE_CHOICES = {"model": "wide_resnet", "pyramidnet.shakedrop_gate": "pixel", "pyramidnet.shakedrop_noise": "pixel"}
IMAGE_CHOICES |= {"without": "skip_connect", "data.dataset": "cifar100", "data.split": "shuffled", "data.class_weights": "balanced"}
TEXT_CHOICES = {"without": "tanh", "data.level": "character", "model": "awd_lstm"}


def is_text(config):
  return configs.is_of_text(getattr(getattr(config, "training", config), "space", ""))


def other(path, kind, value, of_text):
  """Another valid value of a field."""
  path = path.removeprefix("training.")
  if path == "method" and value == "darts":
    return "gdas"
  if path == "study.sampler" and value == "random":
    return "tpe"
  if path == "budget_in" and value == "seconds":
    return "multiply_adds"
  if path == "evaluator" and value == "training":
    return "naswot"
  if path == "remedies.perturbation" and value == "uniform":
    return "adversarial"
  if kind is str and of_text and path == "data.dataset":
    return "ptb" if value != "ptb" else "wikitext2"
  if path == "model" and value in ("wide_resnet", "awd_lstm"):
    return {"wide_resnet": "resnet", "awd_lstm": "mos_lstm"}[value]
  if kind == tuple[str, ...]:
    return ["brier_score"] if value != ("brier_score",) else ["top_5_accuracy"]
  if kind is str:
    if path.endswith(".stem"):
      return "small" if value == "imagenet" else "imagenet"
    return (CHOICES | (TEXT_CHOICES if of_text else IMAGE_CHOICES))[path]
  if path == "search" and value != "digits_demo":
    return "digits_demo"
  if kind == tuple[int, ...]:
    return [16, 16, 1] if path == "image_shape" else [3, 9]
  if path.endswith("net.depth"):  # these networks have 6 n + 2, 6 n + 4 or 9 n + 2 layers
    return value + 18
  if path.endswith("partial_channels"):
    return 2 * value
  if path == "gaea.smallest":
    return 0.001
  if path == "supernet.channels":
    return 2 * value  # so that partial channels divide them
  if kind is bool:
    return not value
  return value + 2 if kind is int else value / 2 or 0.25
