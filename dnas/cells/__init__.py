"""Operations, cells and the spaces that they span."""

# They register what they define.
from dnas.cells import darts_conv, darts_recurrent, nasnet, operations, published, published_recurrent  # noqa: F401
