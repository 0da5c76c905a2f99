"""All networks of a space at once: supernets, hypergradients, the bilevel step."""
