"""Training of one network, and the host's side of every run: loop, checkpoints, folder, display."""
