"""Data sets, their splits, and batches of them on the device."""
