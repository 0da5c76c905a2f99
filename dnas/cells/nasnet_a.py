"""The NASNet search space and the cells of NASNet-A.

A cell has five nodes. In the paper it concatenates the states that no node reads. The released cells of NASNet-A concatenate one state
more: an input in the normal cell, a node in the reduction cell. The network is that of `nasnet_stack`. `nasnet.py` has the same cells as
the DARTS paper retrains them.

Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018, section 3.1 and figure 4. No
published cell has a dense convolution, so its form is open. Here it is that of AmoebaNet, with a bottleneck.
"""

from dnas.cells.registries import SPACES, published
from dnas.core.space import CellSpace

_ID, _AVG, _MAX = "identity", "avg_pool_3x3", "max_pool_3x3"
_SEP3, _SEP5, _SEP7 = "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"

SPACE = CellSpace(
  name="nasnet_a",
  cells=("normal", "reduce"),
  operations=(
    *(_ID, "bottleneck_conv_1x3_3x1", "bottleneck_conv_1x7_7x1", "dil_sep_conv_3x3", _AVG, _MAX, "max_pool_5x5", "max_pool_7x7"),
    *("nor_conv_1x1", "bottleneck_conv_3x3", _SEP3, _SEP5, _SEP7),
  ),
  num_nodes=5,
  inputs_in_concat=True,
)
SPACES.register(SPACE.name)(SPACE)

NASNET_A = published(
  "NASNet_A",
  SPACE,
  normal=[(_SEP5, 1), (_SEP3, 0), (_SEP5, 0), (_SEP3, 0), (_AVG, 1), (_ID, 0), (_AVG, 0), (_AVG, 0), (_SEP3, 1), (_ID, 1)],
  normal_concat=[0, 2, 3, 4, 5, 6],
  reduce=[(_SEP5, 1), (_SEP7, 0), (_MAX, 1), (_SEP7, 0), (_AVG, 1), (_SEP5, 0), (_ID, 3), (_AVG, 2), (_SEP3, 2), (_MAX, 1)],
  reduce_concat=[3, 4, 5, 6],
)
