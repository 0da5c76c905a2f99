"""Published recurrent cells of the DARTS space."""

from dnas.cells.darts_recurrent import SPACE
from dnas.cells.registries import published_recurrent

# Pham et al., "Efficient Neural Architecture Search", ICML 2018. More nodes than the space; the output is the mean of the leaves.
ENAS = published_recurrent(
  "ENAS",
  SPACE,
  [
    ("tanh", 0),
    ("tanh", 1),
    ("relu", 1),
    ("tanh", 3),
    ("tanh", 3),
    ("relu", 3),
    ("relu", 4),
    ("relu", 7),
    ("relu", 8),
    ("relu", 8),
    ("relu", 8),
  ],
  concat=[2, 5, 6, 9, 10, 11],
)
# Liu, Simonyan and Yang, "DARTS", ICLR 2019: the released first-order and second-order cells.
DARTS_V1 = published_recurrent(
  "DARTS_V1",
  SPACE,
  [("relu", 0), ("relu", 1), ("tanh", 2), ("relu", 3), ("relu", 4), ("identity", 1), ("relu", 5), ("relu", 1)],
)
DARTS_V2 = published_recurrent(
  "DARTS_V2",
  SPACE,
  [("sigmoid", 0), ("relu", 1), ("relu", 1), ("identity", 1), ("tanh", 2), ("sigmoid", 5), ("tanh", 3), ("relu", 5)],
)
# Luo et al., "Neural Architecture Optimization", NeurIPS 2018: the released cell. The output is the mean of all nodes.
NAONET = published_recurrent(
  "NAONet",
  SPACE,
  [
    ("relu", 0),
    ("relu", 0),
    ("relu", 1),
    ("tanh", 3),
    ("relu", 4),
    ("relu", 4),
    ("relu", 5),
    ("relu", 1),
    ("relu", 7),
    ("relu", 1),
    ("identity", 1),
  ],
  concat=range(1, 12),
)
