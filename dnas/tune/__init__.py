"""Tuning: a search space over configuration and architecture, a study of trials in a database, and workers that run the trials."""
