"""Human-designed networks; each is one file with its settings, its module and its registration."""

from dnas.core.registry import import_modules
from dnas.nets.models.base import IMAGE_MODELS as IMAGE_MODELS
from dnas.nets.models.base import LANGUAGE_MODELS as LANGUAGE_MODELS
from dnas.nets.models.base import ImageModel as ImageModel
from dnas.nets.models.base import ImageNetwork as ImageNetwork
from dnas.nets.models.base import LanguageModel as LanguageModel
from dnas.nets.models.base import LanguageNetwork as LanguageNetwork

import_modules(__name__)
