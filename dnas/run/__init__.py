"""How every run goes: loop, checkpoints, folder, console, writers, profile, stop."""
