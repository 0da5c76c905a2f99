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
# # A network changes its shape and keeps what it has learned
#
# A trained network is made deeper and wider, gets larger kernels and a skip, and still computes the same function. So a search need not
# train every architecture from the start. This notebook changes a network, checks that nothing changed, trains on, and compares the scores
# of children that inherited with those of children that did not. It takes about two minutes on two CPU cores.

# %%
# %matplotlib inline
import functools
import pathlib
import tempfile

import jax
import numpy as np

import dnas
from dnas.cells import functional
from dnas.cells.conv_chain import SPACE
from dnas.core.chain_space import Edit
from dnas.core.records import Proposal
from dnas.core.trials import trial_id
from dnas.data import base, datasets
from dnas.evaluate.morphism import Config, Morphism
from dnas.nets import derived_image, of_genotype
from dnas.nets.morphisms import chain_network
from dnas.nets.morphisms.base import Trained
from dnas.nets.morphisms.chain import MORPHISMS
from dnas.nets.morphisms.chain_path import path
from dnas.run import loop
from dnas.train import images

# %% [markdown]
# ## A chain of convolutions
#
# The space `conv_chain` holds whole networks: convolutions of chosen kernel and width, poolings, and skips. Its smallest network has one
# convolution in each of three stages. `x1` is a width of once the channels that the network has.

# %%
dataset = datasets.load("digits")
data = base.Config(dataset="digits", train_portion=0.7, batch_size=64, eval_batch_size=256, crop_padding=1, flip=False)
network = derived_image.Config(channels=8, auxiliary=False)
parent = SPACE.smallest()
print(SPACE.notation(parent))

# %% [markdown]
# It is trained for ten epochs.

# %%
recipe = images.Config(epochs=10, learning_rate=0.1)
task = images.RetrainTask(recipe, functools.partial(of_genotype.build, network, parent), data, dataset, seed=0)
position = loop.restore(task, None)
for record in loop.run(task, position):
  print(f"epoch {record['epoch']}: validation accuracy {100 * record['metrics']['valid/accuracy']:.1f} %")

# %% [markdown]
# ## A chain of morphisms
#
# The child has another convolution, twice the channels in the first stage, a larger kernel at the end, and a skip. The edits that lead from
# one chain to another are found from the two chains alone. All of these morphisms are exact.

# %%
child = parent
for edit in (Edit("deeper", 1, ("conv", 3)), Edit("skip", 2, 1), Edit("wider", 1, 2), Edit("kernel_growth", 6, 5)):
  child = SPACE.edited(child, edit)
print(SPACE.notation(child))
edits = [step.edit for step in path(SPACE, parent, child)]
for edit in edits:
  print(f"{edit.kind} at layer {edit.layer}: exact {MORPHISMS[edit.kind].exact}")

# %%
dnas.draw_genotype(child)

# %% [markdown]
# The weights follow. Copied channels share their outgoing weights. The inserted convolution is the identity, and its normalization takes
# its scale and bias from the moments of a batch. The skip begins with a weight of zero.

# %%
trained = Trained(task.variables_of(position.state), None)
chain = chain_network.to_chain(parent, task.network, trained, task.batch(jax.random.key(0)), network.channels)
inherited = chain_network.inherited(SPACE, parent, child, chain, seed=0, noise=0.0)

# %% [markdown]
# ## Nothing changed
#
# Both networks give the same logits, up to rounding.

# %%
batch = task.batch(jax.random.key(1))
static, fresh = functional.split(of_genotype.build(network, child, dataset.train.images.shape[1:], 10, np.random.default_rng(0)))
before = functional.apply(task.network, trained.variables, batch, train=False)[0][0]
after = functional.apply(static, inherited.trained.variables, batch, train=False)[0][0]
difference = float(abs(after - before).max() / abs(before).max())
print(f"largest difference {difference:.1e} of the largest logit; without inheritance the logits have nothing in common:")
print(np.corrcoef(before.ravel(), functional.apply(static, fresh, batch, train=False)[0][0].ravel())[0, 1])

# %% [markdown]
# ## Training on
#
# The evaluator `morphism` does all this for a proposal that names its parent. It keeps every network on disk. The child with the weights of
# its parent is trained for two epochs, and so is the same architecture from new weights.

# %%
folder = pathlib.Path(tempfile.mkdtemp())
settings = Config(epochs=2, first_epochs=10, learning_rate=0.1)
evaluate = Morphism(settings, SPACE, images.Config(), network, data, dataset, seed=0, folder=folder)
first = Proposal(parent)
score = evaluate(first).score
heir = evaluate(Proposal(child, parent=trial_id(first)))
alone = evaluate(Proposal(child, budget=2))
print(f"parent, 10 epochs       {100 * score:.1f} %")
print(f"child at once           {100 * heir.metrics['start/valid/accuracy']:.1f} %")
print(f"child, 2 epochs         {100 * heir.score:.1f} %")
print(f"new weights, 2 epochs   {100 * alone.score:.1f} %")

# %% [markdown]
# ## What each score is worth
#
# Three children are scored in three ways: trained for two epochs with inherited weights, trained for two epochs with new ones, and trained
# for ten epochs with new ones. The last is the most expensive, and the one that the others should predict. Three children on small digits
# decide nothing; `docs/methods/morphism.md` has measurements.

# %%
rows = []
for edit in (Edit("kernel_growth", 1, 5), Edit("wider", 5, 2), Edit("deeper", 3, ("conv", 3))):
  child = SPACE.edited(parent, edit)
  asked = Proposal(child, parent=trial_id(first)), Proposal(child, 2), Proposal(child, 10)
  scores = [evaluate(one).score for one in asked]
  rows.append(scores)
  print("  ".join(f"{100 * one:5.1f} %" for one in scores), SPACE.notation(child))
