"""Supernets, hypergradients and the bilevel step. A supernet contains all networks of a search space."""
