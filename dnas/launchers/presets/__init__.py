"""Configurations by name. Each file says paper, command, expected result and expected time, and holds LAUNCHER and CONFIG."""
