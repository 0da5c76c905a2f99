"""Values that every layer shares: genotypes, spaces, records, configurations, trees. No Flax, no input or output."""
