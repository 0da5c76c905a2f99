"""Published cells of the DARTS space. Tests check each one's parameter count at 36 channels and 20 cells."""

from dnas.cells.darts_conv import SPACE
from dnas.cells.registries import published

_SKIP, _MAX, _AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"
_SEP3, _SEP5, _DIL3, _DIL5 = "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"


# Liu, Simonyan and Yang, "DARTS", ICLR 2019: the released first-order and second-order cells.
DARTS_V1 = published(
  "DARTS_V1",
  SPACE,
  normal=[(_SEP3, 1), (_SEP3, 0), (_SKIP, 0), (_SEP3, 1), (_SKIP, 0), (_SEP3, 1), (_SEP3, 0), (_SKIP, 2)],
  reduce=[(_MAX, 0), (_MAX, 1), (_SKIP, 2), (_MAX, 0), (_MAX, 0), (_SKIP, 2), (_SKIP, 2), (_AVG, 0)],
)
DARTS_V2 = published(
  "DARTS_V2",
  SPACE,
  normal=[(_SEP3, 0), (_SEP3, 1), (_SEP3, 0), (_SEP3, 1), (_SEP3, 1), (_SKIP, 0), (_SKIP, 0), (_DIL3, 2)],
  reduce=[(_MAX, 0), (_MAX, 1), (_SKIP, 2), (_MAX, 1), (_MAX, 0), (_SKIP, 2), (_SKIP, 2), (_MAX, 1)],
)
# Xu et al., "PC-DARTS", ICLR 2020.
PC_DARTS_CIFAR = published(
  "PC_DARTS_cifar",
  SPACE,
  normal=[(_SEP3, 1), (_SKIP, 0), (_SEP3, 0), (_DIL3, 1), (_SEP5, 0), (_SEP3, 1), (_AVG, 0), (_DIL3, 1)],
  reduce=[(_SEP5, 1), (_MAX, 0), (_SEP5, 1), (_SEP5, 2), (_SEP3, 0), (_SEP3, 3), (_SEP3, 1), (_SEP3, 2)],
)
# Chen et al., "Progressive DARTS", ICCV 2019.
PDARTS = published(
  "PDARTS",
  SPACE,
  normal=[(_SKIP, 0), (_DIL3, 1), (_SKIP, 0), (_SEP3, 1), (_SEP3, 1), (_SEP3, 3), (_SEP3, 0), (_DIL5, 4)],
  reduce=[(_AVG, 0), (_SEP5, 1), (_SEP3, 0), (_DIL5, 2), (_MAX, 0), (_DIL3, 1), (_DIL3, 1), (_DIL5, 3)],
)
