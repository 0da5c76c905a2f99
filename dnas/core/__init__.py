"""The lowest layer, used by all others: genotypes, spaces, records, configurations, trees, devices and files. It does not use Flax."""
