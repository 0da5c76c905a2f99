"""Operations, cells and the spaces that they span."""

# They register what they define.
from dnas.cells import (  # noqa: F401
  darts_conv,
  darts_recurrent,
  image_stack,
  nasbench201_stack,
  nasnet,
  operations,
  published,
  published_recurrent,
)
