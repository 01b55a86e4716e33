"""Hyperparameter tuning on walk-forward folds, with pruning and a state on disk, so that it can resume."""
