"""The same work in another framework, to compare with; no part of dnas imports it, and it runs in a process of its own."""
