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
# ordinary training in a folder of its own, and no trial sees the test set. It takes about a minute.

# %%
# %matplotlib inline
import pathlib
import tempfile

from IPython.display import Image, display

import dnas

# %% [markdown]
# ## What is tuned
#
# A search space names fields of the training by their dotted paths, the same that are flags of `dnas train`. The first trial is the
# recipe itself, so that the best is never worse than it, on validation data.

# %%
changes = {"training.train.epochs": 24, "training.network.cells": 1, "seeds": 2, "baseline": False, "pool.workers": 1}
changes |= {"study.trials": 12, "study.startup": 4, "study.min_epochs": 3, "study.eta": 2}
changes["search_space"] = (
  "train.learning_rate = log(0.01, 0.5); train.weight_decay = log(1e-5, 1e-2); train.momentum = uniform(0.5, 0.95)"
)
config = dnas.load_preset("tune_digits_demo", changes)
print(config.search_space)

# %% [markdown]
# ## The study
#
# Successive halving ends a trial early when others of its rung are better, and comes back to it when it turns out to have been among
# the best.

# %%
folder = pathlib.Path(tempfile.mkdtemp()) / "tuned"
result = dnas.run_tuning(config, folder)

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
print("recipe", result["default"]["values"], "best", result["best"]["values"], "epochs of all trials", result["epochs"])
print(result["test"])
print(result["command"])
