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
# The table of results is in the package. It holds every architecture of a small space, 729 in all, each trained three times on digits
# (`docs/results/digits_bench.md`). So an evaluation takes no time here, and its cost is that of the real training. The notebook takes under
# a minute. With `--table=nb201.npz` the same lines are of NAS-Bench-201.

# %%
# %matplotlib inline
import tempfile

import numpy as np
from matplotlib.figure import Figure

import dnas
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import Tabular, report_shares, report_test
from dnas.report import comparison, palette
from dnas.search.blackbox import study
from dnas.search.blackbox.strategies import STRATEGIES

# %% [markdown]
# ## One search
#
# A strategy asks, an evaluator answers: validation accuracy, and what the training cost. Regularized evolution gets 60 accelerator
# seconds. What it asked and was told is its journal; the best so far, of which there are a few, are its incumbents.

# %%
benchmark = digits_bench.load(seed=0)
space = benchmark.space
evolution = STRATEGIES["regularized_evolution"]().on(space)
journal = list(study.run(evolution, Tabular(benchmark, epochs=12), seed=1, seconds=60))
best = study.incumbents(journal)
for step in best:
  print(f"{step.seconds:5.1f} s  validation {step.score:.2f} %  {space.notation(step.genotype)}")

# %% [markdown]
# The first ten architectures are random. After that every one is a mutation of a good one, and fewer are poor.


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
# When the search has ended, and not before, the test accuracy of what it found is looked up, and how many of all architectures are worse.

# %%
found, epochs = best[-1].genotype, benchmark.epochs[-1]
worse = report_shares(benchmark, epochs)[benchmark.row(found)]
print(f"test accuracy {report_test(benchmark, found, epochs):.2f} %, better than {100 * worse:.0f} % of {len(benchmark.genotypes)}")

# %% [markdown]
# ## Many searches
#
# One search decides nothing. The comparison runs every method with 20 seeds at equal budget, each search in a folder of its own; a
# comparison that was broken off goes on where it stood.

# %%
methods = "random_search,regularized_evolution,local_search"
config = dnas.load_preset("digits_bench_comparison", {"methods": methods, "seeds": 20, "pool.workers": 1})
(searches,) = dnas.run_comparison(config, tempfile.mkdtemp())

# %% [markdown]
# ## The report
#
# The mean of the searches with its confidence interval; the percentile of what was found among all architectures; the best of four, whose
# price is four searches; and how many times the budget random search would need to come as far.

# %%
table = comparison.result_table(searches, k=4)
print(table.to_markdown())

# %% [markdown]
# The anytime curves show which method is ahead at which budget, means with bands of the middle half of the searches.

# %%
(figure := comparison.anytime_figure(searches))

# %% [markdown]
# Every search is a dot, the mean a line: what a single run of a method can come to.

# %%
comparison.distribution_figure(searches)
