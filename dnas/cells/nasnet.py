"""The cells of NASNet-A and AmoebaNet-A, as the DARTS paper transcribes and retrains them, in the networks of DARTS.

Both have five nodes and operations beyond those of DARTS. They concatenate only the nodes that no other node reads. The cells and networks
of the original papers are other ones: see `nasnet_a.py`, `amoebanet.py` and `nasnet_stack.py`. Sources: Zoph et al.,
"Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018; Real et al., "Regularized Evolution for Image Classifier
Architecture Search", AAAI 2019. As in the DARTS paper, the operations are those of `cells.operations`.
"""

from dnas.cells import darts_conv
from dnas.cells.registries import SPACES, published
from dnas.core.space import CellSpace

SPACE = CellSpace(
  name="nasnet",
  cells=("normal", "reduce"),
  operations=(*darts_conv.SPACE.operations, "sep_conv_7x7", "conv_7x1_1x7"),
  num_nodes=5,
)
SPACES.register(SPACE.name)(SPACE)

_SKIP, _MAX, _AVG, _WIDE = "skip_connect", "max_pool_3x3", "avg_pool_3x3", "conv_7x1_1x7"
_SEP3, _SEP5, _SEP7 = "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"


NASNET = published(
  "NASNet_in_DARTS",
  SPACE,
  normal=[(_SEP5, 1), (_SEP3, 0), (_SEP5, 0), (_SEP3, 0), (_AVG, 1), (_SKIP, 0), (_AVG, 0), (_AVG, 0), (_SEP3, 1), (_SKIP, 1)],
  normal_concat=[2, 3, 4, 5, 6],
  reduce=[(_SEP5, 1), (_SEP7, 0), (_MAX, 1), (_SEP7, 0), (_AVG, 1), (_SEP5, 0), (_SKIP, 3), (_AVG, 2), (_SEP3, 2), (_MAX, 1)],
  reduce_concat=[4, 5, 6],
)
AMOEBANET = published(
  "AmoebaNet_in_DARTS",
  SPACE,
  normal=[(_AVG, 0), (_MAX, 1), (_SEP3, 0), (_SEP5, 2), (_SEP3, 0), (_AVG, 3), (_SEP3, 1), (_SKIP, 1), (_SKIP, 0), (_AVG, 1)],
  normal_concat=[4, 5, 6],
  reduce=[(_AVG, 0), (_SEP3, 1), (_MAX, 0), (_SEP7, 2), (_SEP7, 0), (_AVG, 1), (_MAX, 0), (_MAX, 1), (_WIDE, 0), (_SEP3, 5)],
  reduce_concat=[3, 4, 6],
)
