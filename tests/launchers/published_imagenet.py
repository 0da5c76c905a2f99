"""The published figures of the presets for ImageNet."""

IMAGENET = {"data.dataset": "images", "data.data_dir": "imagenet", "data.image_size": [224], "data.stream": True, "data.cutout_length": 0}
IMAGENET |= {"data.centre_crop": 0.875, "data.crop_area": 0.08, "data.colour_jitter": True, "data.metrics": ["top_5_accuracy"]}
IMAGENET |= {"data.crop_padding": 0}
IMAGENET_RETRAINING = {"network.channels": 48, "network.cells": 14, "network.stem_multiplier": 1, "network.stem": "imagenet"}
IMAGENET_RETRAINING |= {"data.batch_size": 128, "train.epochs": 250, "train.learning_rate": 0.1, "train.weight_decay": 3e-5}
IMAGENET_RETRAINING |= {"train.schedule": "exponential", "train.final_learning_rate": 0.1 * 0.97**250, "train.label_smoothing": 0.1}
IMAGENET_RETRAINING |= {"train.drop_path": 0.0}
IMAGENET_SEARCH = IMAGENET | {"method": "pc_darts", "hypergradient": "", "supernet.stem_multiplier": 1, "supernet.stem": "imagenet"}
IMAGENET_SEARCH |= {"data.batch_size": 1024, "data.train_portion": 0.8, "data.split": "stratified", "data.examples": 160_146}
IMAGENET_SEARCH |= {"darts.learning_rate": 0.5, "darts.final_learning_rate": 0.0}
IMAGENET_SEARCH |= {"darts.weight_decay": 3e-5, "darts.arch_warmup_epochs": 35}
IMAGENET_SEARCH |= {"darts.arch_learning_rate": 6e-3, "pc_darts.partial_channels": 4}
