"""Measurements of speed. Each is a module: `python -m benchmarks.speed --help`. Ratios count, of one run on an idle machine."""
