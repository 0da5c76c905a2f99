"""Networks of one architecture."""
