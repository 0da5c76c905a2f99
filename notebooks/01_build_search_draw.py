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
# # Build a cell, look at it, search, draw it
#
# A genotype is a value, a supernet holds every genotype of a space, and a search moves mixture weights until one stands out. This
# notebook does it in miniature, with the objects that the launchers use. It runs in about a minute on two CPU cores.

# %%
# %matplotlib inline
import jax
import numpy as np

from dnas.cells import functional
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import tree
from dnas.data import datasets
from dnas.data.base import Config as DataConfig
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.nets.derived_image import DerivedImageNetwork
from dnas.report.draw import draw_genotype
from dnas.search.gradient import darts
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.supernet.hypergradients import FirstOrder
from dnas.supernet.image_supernet import Config as SupernetConfig

# %% [markdown]
# ## A cell
#
# The published cells are there by name. A cell has two inputs and four nodes; every node sums two edges.

# %%
genotype = IMAGE_GENOTYPES["DARTS_V2"]
print(genotype)
draw_genotype(genotype, title="DARTS_V2")

# %% [markdown]
# At 36 channels and 20 cells this cell makes the network of the paper: 3.3 million weights, and an auxiliary head that is not counted.

# %%
network = DerivedImageNetwork(NetworkConfig(channels=36, cells=20), genotype, (32, 32, 3), 10, np.random.default_rng(0))
_, variables = functional.split(network)
auxiliary = tree.size(variables.weights["auxiliary"])
print(f"{tree.size(variables.weights) - auxiliary:,} weights, and {auxiliary:,} in the auxiliary head")

# %% [markdown]
# ## A search
#
# The space has 14 edges in a cell, with 8 operations each. A workload is a supernet with its data. All parts take the same
# configurations as the command line: `SupernetConfig(channels=2)` is `--supernet.channels=2`.

# %%
space = SPACES["darts_conv"]
print(len(space.edges), "edges:", space.edges)
dataset = datasets.load("digits")
workload = ImageWorkload(SupernetConfig(channels=2, cells=1), DataConfig(batch_size=64), space, dataset, seed=0)
task = darts.DartsTask(darts.Config(epochs=6, learning_rate=0.1, arch_learning_rate=0.02), workload, FirstOrder(), jax.random.key(0))
for progress in darts.DartsSearch(task).run():
  print(f"epoch {progress.epoch}: validation accuracy of the supernet {progress.metrics['valid/accuracy']:.2f}")

# %% [markdown]
# ## What it found
#
# One cell and six epochs find nothing of value; with one cell, that cell is a reduction, so the normal cell was never trained. The full
# recipe is `dnas search --preset=darts_cifar10_second_order`.

# %%
print(progress.genotype)
draw_genotype(progress.genotype, title="found")

# %% [markdown]
# ## And a random cell, to be honest
#
# Whoever reports a search reports random cells, trained alike. `make demo` does.

# %%
draw_genotype(space.sample(np.random.default_rng(0)), title="random")

# %%
print("on", jax.devices()[0].device_kind)
