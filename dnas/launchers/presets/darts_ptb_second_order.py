"""DARTS search on Penn Treebank with the second-order hypergradient by finite differences.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.1.2, equations 7 and 8, appendix A.1.2.
Command: dnas search --preset=darts_ptb_second_order --workdir=runs/ptb_second_order
Expected result: a genotype that retrains (darts_ptb_retrain) to 55.7 test perplexity (table 2; the best of four searches). As in the
  published code, the clipping factor is a constant. The published code also draws new dropout masks in every pass
  (--shared_masks=false), clips the validation gradient, and leaves the temporal penalty out of the unrolled step. This preset does not.
Expected time: the paper reports 1 GPU-day for four searches on one GTX 1080 Ti, so about 6 hours for one.
"""

import dataclasses

from dnas.launchers.presets import darts_ptb_first_order
from dnas.supernet.hypergradients.finite_difference import FiniteDifference

LAUNCHER = "search"
CONFIG = dataclasses.replace(
  darts_ptb_first_order.CONFIG,
  hypergradient="finite_difference",
  finite_difference=FiniteDifference(through_clip=False),  # as in the published code
)
