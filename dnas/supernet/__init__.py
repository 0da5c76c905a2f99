"""Supernets, which contain all networks of a space; hypergradients; the bilevel step."""
