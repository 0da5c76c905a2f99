"""The registered space of chains of convolutions. `nets.conv_chain` makes their networks."""

from dnas.cells.registries import CHAIN_SPACES
from dnas.core.chain_space import ChainSpace

SPACE = ChainSpace("conv_chain")
CHAIN_SPACES.register(SPACE.name)(SPACE)
