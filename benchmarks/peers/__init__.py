"""The same work in another framework, to compare with; no part of dnas imports them."""
