"""Training of one network: images, language, optimizers, metrics."""
