"""Operations, cells and the spaces that they span."""

# Importing these modules registers their spaces, operations and genotypes.
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
