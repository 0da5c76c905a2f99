"""Hyperparameter tuning: a search space of configurations and architectures, a study of trials in a database, workers that run trials."""
