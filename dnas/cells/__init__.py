"""Operations, cells and the spaces that they span."""

from dnas.cells import darts_conv, nasnet, operations, published  # noqa: F401  (they register what they define)
