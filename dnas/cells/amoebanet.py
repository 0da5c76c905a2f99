"""The cells of AmoebaNet-A and AmoebaNet-B, and the space of their operations.

The network is that of `nasnet_stack`. `nasnet.py` has AmoebaNet-A as the DARTS paper retrains it; the paper's transcription swaps the two
inputs of a cell. Both normal cells concatenate one of their inputs, although a node reads that input too.

Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, figure 5 and appendix, and the released
code. The space holds the operations of both cells.
"""

from dnas.cells.registries import SPACES, published
from dnas.core.space import CellSpace

_ID, _ONE, _CONV3, _WIDE = "identity", "nor_conv_1x1", "bottleneck_conv_3x3", "bottleneck_conv_1x7_7x1"
_AVG, _MAX2, _MAX = "avg_pool_3x3", "max_pool_2x2", "max_pool_3x3"
_SEP3, _SEP5, _SEP7, _DIL5 = "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_sep_conv_5x5"

SPACE = CellSpace(
  name="amoebanet",
  cells=("normal", "reduce"),
  operations=(_ID, _AVG, _MAX2, _MAX, _ONE, _CONV3, _WIDE, _SEP3, _SEP5, _SEP7, _DIL5),
  num_nodes=5,
  inputs_in_concat=True,
)
SPACES.register(SPACE.name)(SPACE)

AMOEBANET_A = published(
  "AmoebaNet_A",
  SPACE,
  normal=[(_AVG, 1), (_MAX, 1), (_SEP3, 0), (_ID, 0), (_ID, 1), (_AVG, 0), (_SEP3, 1), (_SEP5, 2), (_AVG, 5), (_SEP3, 1)],
  normal_concat=[0, 3, 4, 6],
  reduce=[(_SEP3, 0), (_AVG, 1), (_MAX, 1), (_SEP7, 2), (_MAX, 0), (_MAX, 1), (_SEP3, 4), (_WIDE, 1), (_AVG, 0), (_SEP7, 1)],
  reduce_concat=[2, 3, 4, 5, 6],
)
AMOEBANET_B = published(
  "AmoebaNet_B",
  SPACE,
  normal=[(_ONE, 0), (_MAX, 0), (_ID, 0), (_SEP3, 1), (_ONE, 0), (_SEP3, 1), (_ONE, 2), (_ID, 2), (_AVG, 0), (_ONE, 5)],
  normal_concat=[1, 3, 4, 6],
  reduce=[(_MAX2, 1), (_MAX, 1), (_ID, 2), (_CONV3, 0), (_DIL5, 2), (_MAX, 2), (_ID, 3), (_SEP3, 0), (_AVG, 4), (_ONE, 3)],
  reduce_concat=[5, 6],
)
