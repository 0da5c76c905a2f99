"""Presets: configurations by name. A file states paper, command, expected result and time, and defines LAUNCHER and CONFIG."""
