"""dnas: differentiable neural architecture search in JAX."""

__version__ = "0.2.0"
