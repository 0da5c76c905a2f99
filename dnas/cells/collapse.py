"""The spaces S1 to S4, on which DARTS collapses to skip connections or noise.

Source: Zela et al., "Understanding and Robustifying Differentiable Architecture Search" (RobustDARTS), ICLR 2020, section 3. Cells and
networks are those of DARTS.

  S1  two operations on every edge, those that a search on the whole space preferred; they differ from edge to edge.
  S2  skip_connect and sep_conv_3x3.
  S3  S2 and none, which a discrete cell does not have.
  S4  sep_conv_3x3 and noise, which no sensible search should choose.
"""

from dnas.cells.registries import SPACES
from dnas.core.space import CellSpace

_CELLS = ("normal", "reduce")
_SKIP, _SEP, _DIL3, _DIL5, _MAX, _AVG = "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "avg_pool_3x3"

_NORMAL = (
  *((_SKIP, _DIL3), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _SEP), (_SKIP, _DIL3), (_MAX, _SKIP), (_SKIP, _SEP)),
  *((_SKIP, _SEP), (_SKIP, _DIL3), (_SKIP, _SEP), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5)),
)
_REDUCE = (
  *((_MAX, _AVG), (_MAX, _DIL3), (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_MAX, _AVG), (_MAX, _SEP)),
  *((_SKIP, _DIL3), (_SKIP, _DIL5), (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5)),
)

COLLAPSE_SPACES = (
  CellSpace("darts_s1", _CELLS, (_MAX, _AVG, _SKIP, _SEP, _DIL3, _DIL5), edge_choices=(_NORMAL, _REDUCE)),
  CellSpace("darts_s2", _CELLS, (_SKIP, _SEP)),
  CellSpace("darts_s3", _CELLS, ("none", _SKIP, _SEP)),
  CellSpace("darts_s4", _CELLS, ("noise", _SEP)),
)
for space in COLLAPSE_SPACES:
  SPACES.register(space.name)(space)
