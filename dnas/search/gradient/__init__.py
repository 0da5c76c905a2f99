"""Differentiable search: gradients optimize the weights and the architecture parameters of a supernet."""
