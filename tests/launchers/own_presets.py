"""A user's module: presets of its own, tiny, for a contest."""

import dnas
from dnas.core import config as config_lib
from dnas.tune import study

DATA = {"data.dataset": "digits", "data.examples": 200, "data.batch_size": 50, "data.eval_batch_size": 60, "data.flip": False}
STUDY = study.Config(trials=4, sampler="random", pruner="successive_halving", min_epochs=1, eta=2)
TUNING = dnas.ImageTuneConfig(train_portion=0.7, study=STUDY, seeds=0)
TRAIN = {**{f"training.{path}": value for path, value in DATA.items()}, "training.train.epochs": 2, "training.train.auxiliary_weight": 0.0}
CELL = {"training.space": "nasbench201", "training.genotype": "random:0", "training.network.channels": 2, "training.network.cells": 3}
RATE = "train.learning_rate = log(0.01, 0.5)"

RESNET = {"search_space": RATE, "training.model": "resnet", "training.resnet.depth": 8}
dnas.PRESETS.register("tiny_resnet")(config_lib.replace(config_lib.with_units(TUNING), TRAIN | RESNET | {"training.resnet.channels": 3}))
PLAIN = {"training.network.auxiliary": False, "training.network.stem_multiplier": 1, "training.train.drop_path": 0.0}
dnas.PRESETS.register("tiny_cell")(config_lib.replace(config_lib.with_units(TUNING), TRAIN | CELL | PLAIN | {"search_space": RATE}))
for name in ("tiny_resnet", "tiny_cell"):
  dnas.PRESETS.register(f"{name}_short")(config_lib.replace(dnas.PRESETS[name], {"training.train.epochs": 1}))
SUPERNET = {"space": "nasbench201", "without": "none,avg_pool_3x3,nor_conv_1x1", "supernet.channels": 2, "supernet.cells": 3}
DARTS = {"darts.epochs": 1, "darts.diagnose_every": 0, "supernet.stem_multiplier": 1}
dnas.PRESETS.register("tiny_search")(config_lib.replace(config_lib.with_units(dnas.ImageSearchConfig()), DATA | SUPERNET | DARTS))
