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
# # Look at a cell, search for one, draw it, retrain it
#
# A genotype is a value. A supernet holds every genotype of a space. A search moves mixture weights until one operation of every edge stands
# out. This notebook does it on 8x8 images of digits, in about a minute on two CPU cores.

# %%
# %matplotlib inline
import tempfile

import numpy as np

import dnas

# %% [markdown]
# ## A cell
#
# The published cells are there by name. A cell has two inputs and four nodes. Every node sums two edges.

# %%
genotype = dnas.IMAGE_GENOTYPES["DARTS_V2"]
print(genotype)
dnas.draw_genotype(genotype, title="DARTS_V2")

# %% [markdown]
# It is one of many in its space, in which every edge chooses one of eight operations.

# %%
space = dnas.SPACES["darts_conv"]
print(len(space.edges), "edges:", space.edges)
print("operations:", *space.operations)

# %% [markdown]
# ## A search
#
# A preset is a configuration. Its fields have the names that are flags on the command line: `"supernet.channels": 2` is
# `--supernet.channels=2`. The folder holds everything that the run writes. The same call again resumes it.

# %%
folder = tempfile.mkdtemp()
config = dnas.load_preset("digits_demo", {"supernet.channels": 2, "supernet.cells": 1, "darts.epochs": 6})
found = dnas.run_search(config, f"{folder}/search")
print(f"validation accuracy of the supernet: {found.metrics['valid/accuracy']:.2f}")

# %% [markdown]
# One cell and six epochs find nothing of value. With one cell, that cell is a reduction, so the normal cell was never trained. The full
# recipe is `dnas search --preset=darts_cifar10_second_order`.

# %%
dnas.draw_genotype(found.genotype, title="found")

# %% [markdown]
# ## A retraining, and a random cell to be honest
#
# Both networks are trained alike, from new weights, and tested once. Whoever reports a search reports random cells beside it.

# %%
random = space.sample(np.random.default_rng(0))
training = dnas.load_preset("digits_demo_retrain", {"network.cells": 1, "train.epochs": 6})
errors = {}
for name, cell in {"found": found.genotype, "random": random}.items():
  result = dnas.run_training(training, f"{folder}/{name}", cell)
  errors[name] = 100 * (1 - result["test/accuracy"])

# %%
print(", ".join(f"{name}: test error {error:.1f} %" for name, error in errors.items()))
dnas.draw_genotype(random, title="random")
