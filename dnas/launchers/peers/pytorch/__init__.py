"""The networks of dnas in plain PyTorch. It runs on any Python from 3.10 on with PyTorch and NumPy, and imports nothing else."""
