"""Differentiable search: a supernet and its architecture parameters are optimized by gradients."""
