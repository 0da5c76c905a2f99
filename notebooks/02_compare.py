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
# # From one search to an honest comparison
#
# A published number is often the best of several searches, and seldom stands beside random search at the same cost. This notebook runs
# one search, then many, and reports mean, spread and cost, with the functions of `dnas compare` and `dnas report`.
#
# The table of results is planted: it has the shape of NAS-Bench-201, and measures nothing. With the real file,
# `--table=nb201.npz`, the same lines give real numbers. It takes under a minute.

# %%
# %matplotlib inline
import tempfile

import numpy as np
from matplotlib.figure import Figure

import dnas
from dnas.cells.nasbench201 import SPACE, to_string
from dnas.evaluate.synthetic_table import planted
from dnas.evaluate.tabular import Tabular, report_test
from dnas.report import comparison, palette
from dnas.search.blackbox import study
from dnas.search.blackbox.strategies import STRATEGIES

# %% [markdown]
# ## One search
#
# A strategy asks, an evaluator answers: validation accuracy, and what it would have cost. Regularized evolution gets 10,000 accelerator
# seconds. What it asked and was told is its journal; the best so far, of which there are a few, are its incumbents.

# %%
table = planted()
evolution = STRATEGIES["regularized_evolution"]().on(SPACE)
journal = list(study.run(evolution, Tabular(table, epochs=12), seed=0, seconds=10_000))
best = study.incumbents(journal)
for step in best:
  print(f"{step.seconds:7.0f} s  validation {step.score:.2f} %  {to_string(step.genotype)}")

# %% [markdown]
# The first ten architectures are random. After that every one is a mutation of a good one, and soon few are poor.


# %%
def draw(journal: list[study.Entry], best: list[study.Incumbent]) -> Figure:
  figure = Figure(figsize=(8, 3.4), layout="constrained", facecolor="white")
  axes = figure.subplots()
  seconds, scores = np.cumsum([evaluation.cost for _, evaluation in journal]), [evaluation.score for _, evaluation in journal]
  axes.scatter(seconds, scores, s=16, color=palette.TRAIN, label="evaluated")
  steps = [(step.seconds, step.score) for step in best] + [(seconds[-1], best[-1].score)]
  axes.step(*zip(*steps, strict=True), where="post", color=palette.VALID, linewidth=2, label="best so far")
  axes.set(xlabel="accelerator seconds", ylabel="validation accuracy (%)")
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(frameon=False, loc="lower right")
  return figure


draw(journal, best)

# %% [markdown]
# When the search has ended, and not before, the test accuracy of what it found is looked up.

# %%
print(f"test accuracy {report_test(table, best[-1].genotype):.2f} %")

# %% [markdown]
# ## Many searches
#
# One search decides nothing. The comparison runs every method with 20 seeds at equal budget, each search in a folder of its own; a
# comparison that was broken off goes on where it stood.

# %%
methods = "random_search,regularized_evolution,local_search"
config = dnas.load_preset("synthetic_comparison", {"methods": methods, "seconds": 10_000.0, "seeds": 20, "pool.workers": 1})
(found,) = dnas.run_comparison(config, tempfile.mkdtemp())

# %% [markdown]
# ## The report
#
# The mean of the searches with its confidence interval; the best of four, whose price is four searches; and how many times the budget
# random search would need to come as far.

# %%
table = comparison.result_table(found, k=4)
print(table.to_markdown())

# %% [markdown]
# The anytime curves show which method is ahead at which budget, means with bands of the middle half of the searches.

# %%
(figure := comparison.anytime_figure(found))

# %% [markdown]
# Every search is a dot, the mean a line: what a single run of a method can come to.

# %%
comparison.distribution_figure(found)
