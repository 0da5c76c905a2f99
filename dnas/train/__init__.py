"""Training of one network, and the host code of every run: loop, checkpoints, run folder, display."""
