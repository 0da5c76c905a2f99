"""Tuning: a space over a configuration and an architecture, a study of trials in a data base, and workers that run them."""
