"""The convolutional cells of NAONet, and the space of their operations.

The network is that of `nasnet_stack`, with another place for the auxiliary head. Dense convolutions have no bottleneck.

Source: Luo et al., "Neural Architecture Optimization", NeurIPS 2018, and the released code. Its numbers of weights contradict the paper's:
see the preset naonet_cifar10. In the PyTorch version of the code the third node of the reduction cell reads its two inputs the other way
round, and the count differs a little.
"""

from dnas.cells.registries import SPACES, published
from dnas.core.space import CellSpace

_ID, _CONV1, _CONV3 = "identity", "nor_conv_1x1", "nor_conv_3x3"
_CROSS3, _CROSS7 = "nor_conv_1x3_3x1", "nor_conv_1x7_7x1"
_AVG2, _AVG, _AVG5 = "avg_pool_2x2", "avg_pool_3x3", "avg_pool_5x5"
_MAX2, _MAX, _MAX5 = "max_pool_2x2", "max_pool_3x3", "max_pool_5x5"

SPACE = CellSpace(
  name="naonet",
  cells=("normal", "reduce"),
  operations=("sep_conv_3x3", "sep_conv_5x5", _ID, _CONV1, _CONV3, _CROSS3, _CROSS7, _MAX2, _MAX, _MAX5, _AVG2, _AVG, _AVG5),
  num_nodes=5,
  inputs_in_concat=True,
)
SPACES.register(SPACE.name)(SPACE)

NAONET = published(
  "NAONet",
  SPACE,
  normal=[(_CONV3, 0), (_AVG5, 1), (_CROSS3, 2), (_CONV3, 1), (_CONV1, 0), (_CONV3, 1), (_CROSS3, 0), (_CONV3, 4), (_ID, 1), (_CONV3, 0)],
  normal_concat=[3, 5, 6],
  reduce=[(_CONV3, 0), (_AVG2, 1), (_CONV1, 0), (_AVG, 0), (_CROSS7, 1), (_MAX2, 0), (_AVG, 0), (_CONV1, 2), (_MAX, 1), (_CONV3, 0)],
  reduce_concat=[3, 4, 5, 6],
)
