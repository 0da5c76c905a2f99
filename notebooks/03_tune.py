# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tuning the training of a found network
#
# Every published number of architecture search needed a second step: tuning the hyperparameters of the network that was found. Here
# a small part of the demonstration `tune_digits_demo` runs, and then the study is looked at. Optuna decides what to try, every trial is an
# ordinary training in a folder of its own, and no trial sees the test set. Run it from the root of the repository; about a minute.

# %%
# %matplotlib inline
import dataclasses
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path.cwd().resolve() if (pathlib.Path.cwd() / "experiments").is_dir() else pathlib.Path.cwd().parent))

from IPython.display import Image, display

from dnas.core import config as config_lib
from dnas.launchers import tune
from dnas.launchers._flags import Options, load_preset
from dnas.tune import executors, study

# %% [markdown]
# ## What is tuned
#
# A search space names fields of the training by their dotted paths, the same that are flags of `dnas train`. The first trial is the
# recipe itself, so that the best is never worse than it, on validation data.

# %%
preset = load_preset("tune_digits_demo", "tune")
changes = {"training.train.epochs": 24, "training.network.cells": 1, "seeds": 2, "baseline": False}
config = dataclasses.replace(
  config_lib.replace(preset, changes),
  search_space="train.learning_rate = log(0.01, 0.5); train.weight_decay = log(1e-5, 1e-2); train.momentum = uniform(0.5, 0.95)",
  study=study.Config(trials=12, sampler="tpe", startup=4, pruner="successive_halving", min_epochs=3, eta=2),
  pool=executors.Config(workers=1),
)
print(config.search_space)

# %% [markdown]
# ## The study
#
# Successive halving ends a trial early when others of its rung are better, and comes back to it when it turns out to have been among
# the best.

# %%
folder = pathlib.Path(tempfile.mkdtemp()) / "tuned"
tune.run(config, Options(workdir=str(folder)), set())

# %% [markdown]
# ## Looking at it
#
# The pictures are saved with the run: what every trial came to; their curves, most of which end at the rungs of 3, 6 and 12 epochs; and
# the settings of those that came to their end. `optuna-dashboard sqlite:///.../study.db` shows the same study in a browser, while it runs
# too.

# %%
for name in ("history", "epochs", "parallel_coordinates"):
  if (folder / "pictures" / f"{name}.png").exists():
    display(Image(folder / "pictures" / f"{name}.png", width=620))

# %% [markdown]
# ## What it came to
#
# The best trial by validation, the recipe beside it, and the test error of the best, trained again on all training data. A difference
# that is smaller than the spread decides nothing.

# %%
result = json.loads((folder / "result.json").read_text())
print("recipe", result["default"]["values"], "best", result["best"]["values"], "epochs of all trials", result["epochs"])
print(result["test"])
print(result["command"])
