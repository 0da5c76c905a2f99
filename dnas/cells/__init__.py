"""Operations, cells and the spaces that they span. Importing the package registers them."""

from dnas.core.registry import import_modules

import_modules(__name__)
