"""Values that every storey shares: genotypes, spaces, records, configurations, trees. No Flax, no input or output."""
